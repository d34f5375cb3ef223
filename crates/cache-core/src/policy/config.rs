//! The policy as a configuration file has it.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use http::{HeaderName, Method};
use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize};

use crate::content::ContentKey;
use crate::key::{Partition, Secret};
use crate::policy::text::{list, optional};
use crate::policy::{Policy, Retention, Rule, Ttl};

/// A [`Policy`] as a configuration file has it, in any format that serde reads.
///
/// Names are those of the setters, and what is left out is as in [`Policy::private`], or with `kind` as
/// in [`Policy::shared`]. A name that is not known is an error that lists those that are. Durations
/// have their unit: `"500ms"`, `"5min"`.
///
/// ```
/// use cache_core::PolicyConfig;
///
/// let config: PolicyConfig = serde_json::from_str(r#"{
///     "default_ttl": "10min",
///     "stale_if_error": "1day",
///     "rules": [
///         { "status": 404, "override_ttl": "10s" },
///         { "host": "static.example", "path": ["/css/**", "/js/**"], "override_ttl": "never" },
///         { "host": "*.internal.example", "store": false }
///     ]
/// }"#)?;
/// let policy = config.policy()?;
/// # let _ = policy;
///
/// let wrong = serde_json::from_str::<PolicyConfig>(r#"{ "defaultttl": "10min" }"#).unwrap_err();
/// assert!(wrong.to_string().contains("unknown field `defaultttl`, expected one of `kind`"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(
    clippy::exhaustive_structs,
    reason = "it is written out with ..default()"
)]
pub struct PolicyConfig {
    /// Private or shared. Default: private.
    pub kind: CacheKind,
    /// What keeps requests apart beside the URI. Default: credentials in a private cache, nothing in
    /// a shared one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partition: Option<PartitionConfig>,
    /// [`Policy::secret`]. It is read, and never written.
    #[serde(skip_serializing)]
    pub secret: Option<SecretText>,
    /// [`Policy::redact_parameters`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redact_parameters: Option<Vec<String>>,
    /// [`Policy::redact_also`].
    #[serde(with = "list", skip_serializing_if = "Vec::is_empty")]
    pub redact_also: Vec<String>,
    /// [`Policy::ignore_parameters`].
    #[serde(with = "list", skip_serializing_if = "Vec::is_empty")]
    pub ignore_parameters: Vec<String>,
    /// [`Policy::sort_query`].
    pub sort_query: bool,
    /// [`Policy::key_salt`].
    #[serde(with = "optional", skip_serializing_if = "Option::is_none")]
    pub key_salt: Option<String>,
    /// [`Policy::credential_fields`].
    #[serde(with = "list", skip_serializing_if = "Vec::is_empty")]
    pub credential_fields: Vec<HeaderName>,
    /// [`Policy::key_content`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_content: Option<ContentConfig>,
    /// [`Policy::targeted_cache_control`]; empty: as the kind says.
    #[serde(with = "list", skip_serializing_if = "Vec::is_empty")]
    pub targeted_cache_control: Vec<HeaderName>,
    /// [`Policy::default_ttl`].
    #[serde(with = "optional", skip_serializing_if = "Option::is_none")]
    pub default_ttl: Option<Ttl>,
    /// [`Policy::override_ttl`].
    #[serde(with = "optional", skip_serializing_if = "Option::is_none")]
    pub override_ttl: Option<Ttl>,
    /// [`Policy::ignore_origin`].
    pub ignore_origin: bool,
    /// [`Policy::max_ttl`].
    #[serde(with = "optional", skip_serializing_if = "Option::is_none")]
    pub max_ttl: Option<Duration>,
    /// [`Policy::heuristic_cap`].
    #[serde(with = "optional", skip_serializing_if = "Option::is_none")]
    pub heuristic_cap: Option<Duration>,
    /// [`Policy::retention`]: the grace, or `"forever"`.
    #[serde(with = "optional", skip_serializing_if = "Option::is_none")]
    pub retention: Option<Retention>,
    /// [`Policy::stale_while_revalidate`].
    #[serde(with = "optional", skip_serializing_if = "Option::is_none")]
    pub stale_while_revalidate: Option<Duration>,
    /// [`Policy::stale_if_error`].
    #[serde(with = "optional", skip_serializing_if = "Option::is_none")]
    pub stale_if_error: Option<Duration>,
    /// [`Policy::always_revalidate`].
    pub always_revalidate: bool,
    /// [`Policy::early_refresh`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub early_refresh: Option<f64>,
    /// [`Policy::max_body_bytes`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_body_bytes: Option<u64>,
    /// [`Policy::max_head_bytes`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_head_bytes: Option<usize>,
    /// [`Policy::rules`].
    pub rules: Vec<RuleConfig>,
}

/// The two kinds of cache (RFC 9111 §1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(clippy::exhaustive_enums, reason = "there is no third kind")]
pub enum CacheKind {
    /// [`Policy::private`].
    #[default]
    Private,
    /// [`Policy::shared`].
    Shared,
}

/// A [`Partition`] as a configuration file has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum PartitionConfig {
    /// [`Partition::None`].
    None,
    /// [`Partition::Credentials`].
    Credentials,
    /// The value of this request field, a tenant's say: `{ "field": "x-tenant" }`.
    Field(#[serde(with = "field_name")] HeaderName),
}

mod field_name {
    use super::*;
    use serde::Serializer;

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<HeaderName, D::Error> {
        let name = optional::deserialize(deserializer)?;
        name.ok_or_else(|| de::Error::custom("the name of a field is missing"))
    }

    pub(super) fn serialize<S: Serializer>(
        name: &HeaderName,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(name.as_str())
    }
}

/// A [`ContentKey`] as a configuration file has it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(
    clippy::exhaustive_structs,
    reason = "it is written out with ..default()"
)]
pub struct ContentConfig {
    /// Methods beside QUERY: [`ContentKey::method`].
    #[serde(with = "list", skip_serializing_if = "Vec::is_empty")]
    pub method: Vec<Method>,
    /// `ContentKey::normalise_json`; it needs the feature `json`.
    pub normalise_json: bool,
    /// [`ContentKey::normalise_forms`].
    pub normalise_forms: bool,
    /// [`ContentKey::ignore`].
    #[serde(with = "list", skip_serializing_if = "Vec::is_empty")]
    pub ignore: Vec<String>,
}

impl ContentConfig {
    /// The same in code, for a `ContentLayer`, too.
    ///
    /// # Errors
    ///
    /// Where it asks for a feature that is not there.
    pub fn content_key(&self) -> Result<ContentKey, InvalidPolicy> {
        let mut content = ContentKey::query().ignore(&self.ignore);
        for method in &self.method {
            content = content.method(method.clone());
        }
        if self.normalise_forms {
            content = content.normalise_forms();
        }
        if self.normalise_json {
            #[cfg(feature = "json")]
            {
                content = content.normalise_json();
            }
            #[cfg(not(feature = "json"))]
            return Err(InvalidPolicy(
                "normalise_json needs the cargo feature `json`; turn it on".into(),
            ));
        }
        Ok(content)
    }
}

/// A [`Rule`] as a configuration file has it. Conditions are one value or a list of them, which are
/// alternatives; what is left out is no condition, and no action.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(
    clippy::exhaustive_structs,
    reason = "it is written out with ..default()"
)]
pub struct RuleConfig {
    /// [`Rule::host`].
    #[serde(with = "list", skip_serializing_if = "Vec::is_empty")]
    pub host: Vec<String>,
    /// [`Rule::path`].
    #[serde(with = "list", skip_serializing_if = "Vec::is_empty")]
    pub path: Vec<String>,
    /// `Rule::url_regex`; it needs the feature `regex`.
    #[serde(with = "list", skip_serializing_if = "Vec::is_empty")]
    pub url_regex: Vec<String>,
    /// [`Rule::method`].
    #[serde(with = "list", skip_serializing_if = "Vec::is_empty")]
    pub method: Vec<Method>,
    /// [`Rule::status`]: `404`, `"4xx"` or `"500-599"`.
    #[serde(with = "list", skip_serializing_if = "Vec::is_empty")]
    pub status: Vec<String>,
    /// [`Rule::content_type`].
    #[serde(with = "list", skip_serializing_if = "Vec::is_empty")]
    pub content_type: Vec<String>,
    /// `false`: [`Rule::do_not_store`]; `true`: [`Rule::may_store`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub store: Option<bool>,
    /// [`Rule::default_ttl`].
    #[serde(with = "optional", skip_serializing_if = "Option::is_none")]
    pub default_ttl: Option<Ttl>,
    /// [`Rule::override_ttl`].
    #[serde(with = "optional", skip_serializing_if = "Option::is_none")]
    pub override_ttl: Option<Ttl>,
    /// [`Rule::max_ttl`].
    #[serde(with = "optional", skip_serializing_if = "Option::is_none")]
    pub max_ttl: Option<Duration>,
    /// [`Rule::ignore_origin`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ignore_origin: Option<bool>,
    /// [`Rule::stale_while_revalidate`].
    #[serde(with = "optional", skip_serializing_if = "Option::is_none")]
    pub stale_while_revalidate: Option<Duration>,
    /// [`Rule::stale_if_error`].
    #[serde(with = "optional", skip_serializing_if = "Option::is_none")]
    pub stale_if_error: Option<Duration>,
    /// [`Rule::retention`]: the grace, or `"forever"`.
    #[serde(with = "optional", skip_serializing_if = "Option::is_none")]
    pub retention: Option<Retention>,
    /// [`Rule::vary_on`].
    #[serde(with = "list", skip_serializing_if = "Vec::is_empty")]
    pub vary_on: Vec<HeaderName>,
    /// [`Rule::ignore_vary`].
    #[serde(with = "list", skip_serializing_if = "Vec::is_empty")]
    pub ignore_vary: Vec<HeaderName>,
    /// [`Rule::ignore_parameters`].
    #[serde(with = "list", skip_serializing_if = "Vec::is_empty")]
    pub ignore_parameters: Vec<String>,
}

impl PolicyConfig {
    /// The policy.
    ///
    /// # Errors
    ///
    /// Where a value or a rule cannot be used; the error says which one, and what to write.
    pub fn policy(&self) -> Result<Policy, InvalidPolicy> {
        let mut policy = match self.kind {
            CacheKind::Private => Policy::private(),
            CacheKind::Shared => Policy::shared(),
        };
        if let Some(partition) = &self.partition {
            policy.partition = partition.partition();
        }
        if let Some(secret) = &self.secret {
            policy.secret = Secret::new(secret.0.as_bytes());
        }
        if let Some(names) = &self.redact_parameters {
            policy = policy.redact_parameters(names);
        }
        if !self.redact_also.is_empty() {
            policy = policy.redact_also(&self.redact_also);
        }
        if !self.ignore_parameters.is_empty() {
            policy = policy.ignore_parameters(&self.ignore_parameters);
        }
        if self.sort_query {
            policy = policy.sort_query(true);
        }
        if let Some(salt) = &self.key_salt {
            policy = policy.key_salt(salt);
        }
        if !self.credential_fields.is_empty() {
            policy = policy.credential_fields(self.credential_fields.iter().cloned());
        }
        if !self.targeted_cache_control.is_empty() {
            policy = policy.targeted_cache_control(self.targeted_cache_control.iter().cloned());
        }
        policy.default_ttl = self.default_ttl;
        policy.override_ttl = self.override_ttl;
        policy.ignores_origin = self.ignore_origin;
        policy.max_ttl = self.max_ttl;
        policy.heuristic_cap = self.heuristic_cap.unwrap_or(policy.heuristic_cap);
        policy.retention = self.retention.unwrap_or(policy.retention);
        policy.stale_while_revalidate = self.stale_while_revalidate;
        policy.stale_if_error = self.stale_if_error;
        policy.always_revalidate = self.always_revalidate;
        policy.max_body_bytes = self.max_body_bytes.unwrap_or(policy.max_body_bytes);
        policy.max_head_bytes = self.max_head_bytes.unwrap_or(policy.max_head_bytes);
        if let Some(content) = &self.key_content {
            policy = policy.key_content(content.content_key()?);
        }
        if let Some(fraction) = self.early_refresh {
            policy = policy
                .early_refresh(fraction)
                .map_err(|error| InvalidPolicy(error.into()))?;
        }
        policy
            .rules(self.rules.iter().map(RuleConfig::rule))
            .map_err(|error| InvalidPolicy(error.into()))
    }
}

/// A policy that cannot be used, and what to write.
#[derive(Debug)]
pub struct InvalidPolicy(Box<dyn Error + Send + Sync>);

impl fmt::Display for InvalidPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Error for InvalidPolicy {}

impl PartitionConfig {
    fn partition(&self) -> Partition {
        match self {
            Self::None => Partition::None,
            Self::Credentials => Partition::Credentials,
            Self::Field(name) => {
                let name = name.clone();
                Partition::by(move |request| {
                    let value = request.headers.get(&name)?;
                    Some(value.as_bytes().to_vec())
                })
            }
        }
    }
}

impl RuleConfig {
    fn rule(&self) -> Rule {
        let mut rule = Rule::any();
        for host in &self.host {
            rule = rule.host(host);
        }
        for path in &self.path {
            rule = rule.path(path);
        }
        for expression in &self.url_regex {
            #[cfg(feature = "regex")]
            {
                rule = rule.url_regex(expression);
            }
            #[cfg(not(feature = "regex"))]
            {
                rule = rule.failed(format!(
                    "the regular expression {expression:?} needs the cargo feature `regex`; turn it on, or write a path"
                ));
            }
        }
        for method in &self.method {
            rule = rule.method(method.clone());
        }
        for codes in &self.status {
            rule = rule.status_text(codes);
        }
        for media_type in &self.content_type {
            rule = rule.content_type(media_type);
        }
        if !self.vary_on.is_empty() {
            rule = rule.vary_on(self.vary_on.iter().cloned());
        }
        if !self.ignore_vary.is_empty() {
            rule = rule.ignore_vary(self.ignore_vary.iter().cloned());
        }
        if !self.ignore_parameters.is_empty() {
            rule = rule.ignore_parameters(&self.ignore_parameters);
        }
        rule.actions.stores = self.store;
        rule.actions.default_ttl = self.default_ttl;
        rule.actions.override_ttl = self.override_ttl;
        rule.actions.max_ttl = self.max_ttl;
        rule.actions.ignores_origin = self.ignore_origin;
        rule.actions.stale_while_revalidate = self.stale_while_revalidate;
        rule.actions.stale_if_error = self.stale_if_error;
        rule.actions.retention = self.retention;
        rule
    }
}

/// What a secret is made of, which is not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretText(String);

impl From<&str> for SecretText {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretText(..)")
    }
}

impl<'de> Deserialize<'de> for SecretText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // The error of a string would show what is there in its place.
        struct TextVisitor;

        fn wrong<E: de::Error>() -> Result<SecretText, E> {
            Err(E::custom("the secret has to be text, in quotes"))
        }

        impl Visitor<'_> for TextVisitor {
            type Value = SecretText;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the secret as text, in quotes")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<SecretText, E> {
                Ok(text.into())
            }

            fn visit_bool<E: de::Error>(self, _: bool) -> Result<SecretText, E> {
                wrong()
            }

            fn visit_i64<E: de::Error>(self, _: i64) -> Result<SecretText, E> {
                wrong()
            }

            fn visit_u64<E: de::Error>(self, _: u64) -> Result<SecretText, E> {
                wrong()
            }

            fn visit_f64<E: de::Error>(self, _: f64) -> Result<SecretText, E> {
                wrong()
            }
        }

        deserializer.deserialize_any(TextVisitor)
    }
}

//! What policy and rules say together of one response.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use http::header::{HeaderMap, HeaderName};

use crate::exchange::ResponseHead;
use crate::header::cache_control::ResponseDirectives;
use crate::options::CacheOptions;
use crate::policy::rule::{Actions, Rules};
use crate::policy::{Policy, Retention, Ttl};
use crate::rules::storing::{Asked, Received};

/// What policy and rules say together of one response.
pub(crate) struct Terms<'a> {
    pub(crate) policy: &'a Policy,
    pub(crate) stores: bool,
    pub(crate) default_ttl: Option<Ttl>,
    /// A rule for the very status says so: it need not be one with a heuristic (RFC 9110 §15.1).
    pub(crate) default_is_for_status: bool,
    pub(crate) override_ttl: Option<Ttl>,
    pub(crate) max_ttl: Option<Duration>,
    pub(crate) ignores_origin: bool,
    pub(crate) stale_while_revalidate: Option<Duration>,
    pub(crate) stale_if_error: Option<Duration>,
    pub(crate) retention: Retention,
    pub(crate) vary_on: Arc<[HeaderName]>,
    pub(crate) ignored_vary: Arc<[HeaderName]>,
}

impl<'a> Terms<'a> {
    /// The terms for the response to a request.
    pub(crate) fn of(policy: &'a Policy, asked: &Asked, received: &Received<'_>) -> Self {
        let mut terms = Self::of_policy(policy, received.status);
        if let Some(rules) = &policy.rules {
            terms = terms.with(rules, asked, received);
        }
        match &asked.options {
            Some(options) => terms.for_request(options, received.status),
            None => terms,
        }
    }

    /// What a request sets for itself comes before what policy and rules say.
    fn for_request(mut self, options: &CacheOptions, status: StatusCode) -> Self {
        if !is_error(status) {
            self.default_ttl = options.default_ttl.or(self.default_ttl);
            self.override_ttl = options.override_ttl.or(self.override_ttl);
        }
        self.max_ttl = options.max_ttl.or(self.max_ttl);
        self.ignores_origin = options.ignores_origin.unwrap_or(self.ignores_origin);
        self
    }

    /// The terms that the policy has without its rules.
    pub(crate) fn of_policy(policy: &'a Policy, status: StatusCode) -> Self {
        // No lifetime is invented for an error: what is missing now may be there in a moment.
        let is_error = is_error(status);
        Self {
            policy,
            stores: true,
            default_ttl: policy.default_ttl.filter(|_| !is_error),
            default_is_for_status: false,
            override_ttl: policy.override_ttl.filter(|_| !is_error),
            max_ttl: policy.max_ttl,
            ignores_origin: policy.ignores_origin,
            stale_while_revalidate: policy.stale_while_revalidate,
            stale_if_error: policy.stale_if_error,
            retention: policy.retention,
            vary_on: Arc::default(),
            ignored_vary: Arc::default(),
        }
    }

    fn with(mut self, rules: &Rules, asked: &Asked, received: &Received<'_>) -> Self {
        let is_error = is_error(received.status);
        let request = asked.read();
        let response = ResponseHead::new(received.status, received.version, received.headers);
        let mut first = Actions::default();
        for rule in rules.matching(&request, &response) {
            let Actions {
                stores,
                default_ttl,
                override_ttl,
                max_ttl,
                ignores_origin,
                stale_while_revalidate,
                stale_if_error,
                retention,
                vary_on,
                ignored_vary,
                ignored_parameters: _,
            } = &rule.actions;
            let is_meant = !is_error || rule.names_status();
            first.stores = first.stores.or(*stores);
            if let (None, Some(ttl), true) = (first.default_ttl, default_ttl, is_meant) {
                first.default_ttl = Some(*ttl);
                self.default_is_for_status = rule.names_status();
            }
            if is_meant {
                first.override_ttl = first.override_ttl.or(*override_ttl);
            }
            first.max_ttl = first.max_ttl.or(*max_ttl);
            first.ignores_origin = first.ignores_origin.or(*ignores_origin);
            first.stale_while_revalidate = first.stale_while_revalidate.or(*stale_while_revalidate);
            first.stale_if_error = first.stale_if_error.or(*stale_if_error);
            first.retention = first.retention.or(*retention);
            first.vary_on = first.vary_on.or_else(|| vary_on.clone());
            first.ignored_vary = first.ignored_vary.or_else(|| ignored_vary.clone());
        }
        self.stores = first.stores.unwrap_or(self.stores);
        if asked.is_unsafe {
            // What a rule keeps out for this method stays out.
            let own = asked.head();
            let mut stores = rules
                .matching(&own, &response)
                .filter_map(|rule| rule.actions.stores);
            self.stores &= stores.next().unwrap_or(true);
        }
        self.default_ttl = first.default_ttl.or(self.default_ttl);
        self.override_ttl = first.override_ttl.or(self.override_ttl);
        self.max_ttl = first.max_ttl.or(self.max_ttl);
        self.ignores_origin = first.ignores_origin.unwrap_or(self.ignores_origin);
        self.stale_while_revalidate = first.stale_while_revalidate.or(self.stale_while_revalidate);
        self.stale_if_error = first.stale_if_error.or(self.stale_if_error);
        self.retention = first.retention.unwrap_or(self.retention);
        self.vary_on = first.vary_on.unwrap_or(self.vary_on);
        self.ignored_vary = first.ignored_vary.unwrap_or(self.ignored_vary);
        self
    }

    /// What the response says of its own caching, as far as it counts.
    pub(crate) fn directives(&self, headers: &HeaderMap) -> ResponseDirectives {
        let mut directives = ResponseDirectives::read(headers, &self.policy.targets);
        if self.ignores_origin || self.override_ttl.is_some() {
            if !self.policy.is_shared() {
                // What is forbidden to be stored is, for its own partition only.
                directives.no_store = false;
                directives.must_understand = false;
            }
            directives.no_cache = false;
            directives.max_age = None;
            directives.s_maxage = None;
        }
        if self.ignores_origin {
            directives.must_revalidate = false;
            directives.proxy_revalidate = false;
            directives.immutable = false;
            directives.stale_while_revalidate = None;
            directives.stale_if_error = None;
        }
        directives
    }
}

fn is_error(status: StatusCode) -> bool {
    status.as_u16() >= 400
}

//! What a policy says of some requests and responses.

use std::error::Error;
use std::fmt;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use http::header::{CONTENT_TYPE, HOST, HeaderMap, HeaderName};
use http::uri::Authority;
use http::{Method, StatusCode};

use crate::exchange::ResponseHead;
use crate::key;
use crate::keying::IgnoredParameters;
use crate::policy::pattern::{Glob, HostPattern, status_range};
use crate::policy::{Retention, Ttl};
use crate::request::RequestHead;

/// What a policy says of some requests and responses: conditions, and what is done where they hold.
///
/// Rules are an ordered list, [`Policy::rules`](crate::Policy::rules). Of each action the first rule
/// counts that has it and whose conditions hold; what no rule says is as the policy says. The page
/// `docs/rules.md` has the whole order of precedence.
///
/// Conditions of one kind are alternatives, but for functions, which all have to hold; conditions of
/// different kinds have to hold together.
/// A rule without conditions is for everything.
///
/// ```
/// use cache_core::{Policy, Rule, Ttl};
/// use std::time::Duration;
///
/// let policy = Policy::private().rules([
///     // What is missing now may be there in a moment.
///     Rule::any().status(404).override_ttl(Duration::from_secs(10)),
///     Rule::any().host("static.example").path("/assets/**").override_ttl(Ttl::Never),
///     Rule::any().host("*.internal.example").do_not_store(),
///     Rule::any().content_type("image/*").default_ttl(Duration::from_secs(3600)),
/// ])?;
/// # let _ = policy;
///
/// let wrong = Policy::private().rules([Rule::any().path("assets")]).unwrap_err();
/// assert!(wrong.to_string().contains("write \"/assets\""));
/// # Ok::<(), cache_core::InvalidRule>(())
/// ```
#[derive(Debug, Clone, Default)]
#[must_use]
pub struct Rule {
    conditions: Conditions,
    pub(super) actions: Actions,
    problem: Option<Problem>,
}

/// What is wrong with a rule, and what to write instead.
type Problem = Box<str>;

#[derive(Clone, Default)]
struct Conditions {
    hosts: Vec<HostPattern>,
    paths: Vec<Glob>,
    #[cfg(feature = "regex")]
    urls: Vec<regex::Regex>,
    methods: Vec<Method>,
    requests: Vec<RequestFn>,
    statuses: Vec<RangeInclusive<u16>>,
    content_types: Vec<Glob>,
    responses: Vec<ResponseFn>,
}

type RequestFn = Arc<dyn Fn(&RequestHead<'_>) -> bool + Send + Sync>;
type ResponseFn = Arc<dyn Fn(&RequestHead<'_>, &ResponseHead<'_>) -> bool + Send + Sync>;

/// What is done; `None`: the next rule says, or the policy.
#[derive(Debug, Clone, Default)]
pub(super) struct Actions {
    pub(super) stores: Option<bool>,
    pub(super) default_ttl: Option<Ttl>,
    pub(super) override_ttl: Option<Ttl>,
    pub(super) max_ttl: Option<Duration>,
    pub(super) ignores_origin: Option<bool>,
    pub(super) stale_while_revalidate: Option<Duration>,
    pub(super) stale_if_error: Option<Duration>,
    pub(super) retention: Option<Retention>,
    pub(super) vary_on: Option<Arc<[HeaderName]>>,
    pub(super) ignored_vary: Option<Arc<[HeaderName]>>,
    pub(super) ignored_parameters: Option<IgnoredParameters>,
}

impl Rule {
    /// A rule for everything.
    pub fn any() -> Self {
        Self::default()
    }

    /// Requests to this host: `a.example`, or `*.a.example` for all below it, and not itself. With a
    /// port, that one only, where the one that the scheme implies counts, too. Case does not count.
    pub fn host(mut self, host: &str) -> Self {
        match HostPattern::new(host) {
            Ok(host) => self.conditions.hosts.push(host),
            Err(problem) => self.fail(problem),
        }
        self
    }

    /// Requests for this path, without the query: the whole of it, in which `*` is any run of
    /// characters in one segment, `**` any run in any number of them, and `?` one character. So
    /// `/a/**` is all below `/a/`, and not `/a`. Case counts; how characters are percent-encoded does
    /// not (RFC 3986 §6.2.2).
    pub fn path(mut self, path: &str) -> Self {
        match Glob::path(path) {
            Ok(path) => self.conditions.paths.push(path),
            Err(problem) => self.fail(problem),
        }
        self
    }

    /// Requests for a URL, with scheme, host and query, in which this regular expression is found; `^`
    /// and `$` tie it to beginning and end. It takes time linear in the length of the URL.
    #[cfg(feature = "regex")]
    pub fn url_regex(mut self, expression: &str) -> Self {
        match regex::Regex::new(expression) {
            Ok(expression) => self.conditions.urls.push(expression),
            Err(error) => self.fail(format!("the regular expression cannot be read: {error}")),
        }
        self
    }

    /// Requests with this method. What a HEAD or a POST leaves in the store for a GET counts as the answer
    /// to a GET.
    pub fn method(mut self, method: Method) -> Self {
        self.conditions.methods.push(method);
        self
    }

    /// Requests of which this is true. It is asked several times for one request, and must not panic.
    pub fn when(
        mut self,
        condition: impl Fn(&RequestHead<'_>) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.conditions.requests.push(Arc::new(condition));
        self
    }

    /// Responses with this status code.
    pub fn status(self, code: u16) -> Self {
        self.statuses(code..=code)
    }

    /// Responses with a status code from the one to the other.
    pub fn statuses(mut self, codes: RangeInclusive<u16>) -> Self {
        match status_range(codes) {
            Ok(codes) => self.conditions.statuses.push(codes),
            Err(problem) => self.fail(problem),
        }
        self
    }

    /// The same as text: `404`, `4xx`, `500-599`.
    #[cfg(feature = "serde")]
    pub(super) fn status_text(mut self, text: &str) -> Self {
        match super::pattern::status_codes(text) {
            Ok(codes) => self.conditions.statuses.push(codes),
            Err(problem) => self.fail(problem),
        }
        self
    }

    /// Responses with this media type, without parameters: `text/html`, `image/*`,
    /// `application/*+json`.
    pub fn content_type(mut self, media_type: &str) -> Self {
        match Glob::content_type(media_type) {
            Ok(media_type) => self.conditions.content_types.push(media_type),
            Err(problem) => self.fail(problem),
        }
        self
    }

    /// Responses of which this is true. It must not panic.
    pub fn when_response(
        mut self,
        condition: impl Fn(&RequestHead<'_>, &ResponseHead<'_>) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.conditions.responses.push(Arc::new(condition));
        self
    }

    /// Nothing is stored. Where the conditions are about the request alone, nothing is looked up
    /// either, and the cache keeps out of it. Unsafe requests invalidate as ever.
    #[doc(alias = "DO_NOT_CACHE")]
    pub fn do_not_store(mut self) -> Self {
        self.actions.stores = Some(false);
        self
    }

    /// What may be stored by everything else is stored: an exception from the rules behind this one
    /// that say [`do_not_store`](Self::do_not_store).
    pub fn may_store(mut self) -> Self {
        self.actions.stores = Some(true);
        self
    }

    /// The lifetime where the origin gives none, as [`Policy::default_ttl`](crate::Policy::default_ttl);
    /// for errors (4xx, 5xx), too, where the rule names a status.
    pub fn default_ttl(mut self, lifetime: impl Into<Ttl>) -> Self {
        self.actions.default_ttl = Some(lifetime.into());
        self
    }

    /// The lifetime whatever the origin says, as
    /// [`Policy::override_ttl`](crate::Policy::override_ttl); for errors (4xx, 5xx), too, where the rule
    /// names a status.
    pub fn override_ttl(mut self, lifetime: impl Into<Ttl>) -> Self {
        self.actions.override_ttl = Some(lifetime.into());
        self
    }

    /// The longest lifetime, as [`Policy::max_ttl`](crate::Policy::max_ttl).
    pub fn max_ttl(mut self, lifetime: Duration) -> Self {
        self.actions.max_ttl = Some(lifetime);
        self
    }

    /// What the origin says of caching does not count, as
    /// [`Policy::ignore_origin`](crate::Policy::ignore_origin).
    pub fn ignore_origin(mut self, ignore: bool) -> Self {
        self.actions.ignores_origin = Some(ignore);
        self
    }

    /// The window for responses that do not say, as
    /// [`Policy::stale_while_revalidate`](crate::Policy::stale_while_revalidate).
    pub fn stale_while_revalidate(mut self, window: Duration) -> Self {
        self.actions.stale_while_revalidate = Some(window);
        self
    }

    /// The window for responses that do not say, as
    /// [`Policy::stale_if_error`](crate::Policy::stale_if_error).
    pub fn stale_if_error(mut self, window: Duration) -> Self {
        self.actions.stale_if_error = Some(window);
        self
    }

    /// How long it is kept, as [`Policy::retention`](crate::Policy::retention).
    pub fn retention(mut self, retention: Retention) -> Self {
        self.actions.retention = Some(retention);
        self
    }

    /// Responses are selected by these request fields, too, as if `Vary` named them.
    #[doc(alias = "match_headers")]
    pub fn vary_on(mut self, fields: impl IntoIterator<Item = HeaderName>) -> Self {
        self.actions.vary_on = Some(fields.into_iter().collect());
        self
    }

    /// Responses are not selected by these request fields, even where `Vary` names them: one that was
    /// given to one value answers all. It is refused for fields that commonly hold credentials.
    pub fn ignore_vary(mut self, fields: impl IntoIterator<Item = HeaderName>) -> Self {
        let fields: Arc<[HeaderName]> = fields.into_iter().collect();
        if let Some(name) = fields.iter().find(|name| key::is_credential(name)) {
            self.fail(format!(
                "{name:?} can hold credentials, and who ignores it lets users see what is for others; \
                 take it off the list"
            ));
        }
        self.actions.ignored_vary = Some(fields);
        self
    }

    /// Parameters of the query that do not count, as
    /// [`Policy::ignore_parameters`](crate::Policy::ignore_parameters), and in the place of those. The
    /// conditions have to be about the request alone, since the key is made before there is a response.
    pub fn ignore_parameters(mut self, names: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
        self.actions.ignored_parameters = Some(IgnoredParameters::new(names));
        self
    }

    #[cfg(all(feature = "serde", not(feature = "regex")))]
    pub(super) fn failed(mut self, problem: String) -> Self {
        self.fail(problem);
        self
    }

    fn fail(&mut self, problem: impl Into<Problem>) {
        self.problem.get_or_insert_with(|| problem.into());
    }

    /// Whether the conditions are about the request alone.
    fn is_about_request(&self) -> bool {
        let Conditions {
            statuses,
            content_types,
            responses,
            ..
        } = &self.conditions;
        statuses.is_empty() && content_types.is_empty() && responses.is_empty()
    }

    /// Whether it names a status.
    pub(super) fn names_status(&self) -> bool {
        !self.conditions.statuses.is_empty()
    }

    fn matches_request(&self, request: &RequestHead<'_>) -> bool {
        let Conditions {
            hosts,
            paths,
            #[cfg(feature = "regex")]
            urls,
            methods,
            requests,
            ..
        } = &self.conditions;
        #[cfg(feature = "regex")]
        if !urls.is_empty() {
            let url = url(request);
            if !urls.iter().any(|expression| expression.is_match(&url)) {
                return false;
            }
        }
        (hosts.is_empty() || matches_host(hosts, request))
            && (paths.is_empty() || matches_path(paths, request))
            && (methods.is_empty() || methods.contains(request.method))
            && requests.iter().all(|condition| condition(request))
    }

    fn matches_response(&self, request: &RequestHead<'_>, response: &ResponseHead<'_>) -> bool {
        let Conditions {
            statuses,
            content_types,
            responses,
            ..
        } = &self.conditions;
        (statuses.is_empty() || matches_status(statuses, response.status))
            && (content_types.is_empty() || matches_content_type(content_types, response.headers))
            && responses
                .iter()
                .all(|condition| condition(request, response))
    }
}

impl fmt::Debug for Conditions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Conditions");
        shown
            .field("hosts", &self.hosts)
            .field("paths", &self.paths);
        #[cfg(feature = "regex")]
        shown.field("urls", &self.urls);
        shown
            .field("methods", &self.methods)
            .field("statuses", &self.statuses)
            .field("content_types", &self.content_types)
            .field("functions", &(self.requests.len() + self.responses.len()))
            .finish()
    }
}

/// The rules of a policy, which are all right.
#[derive(Debug)]
pub(crate) struct Rules {
    rules: Box<[Rule]>,
    /// Whether any of them says of storing.
    decides_storing: bool,
}

impl Rules {
    pub(super) fn new(rules: impl IntoIterator<Item = Rule>) -> Result<Option<Self>, InvalidRule> {
        let rules: Box<[Rule]> = rules.into_iter().collect();
        for (index, rule) in rules.iter().enumerate() {
            let is_late = rule.actions.ignored_parameters.is_some() && !rule.is_about_request();
            let late = || LATE.into();
            if let Some(problem) = rule.problem.clone().or_else(|| is_late.then(late)) {
                return Err(InvalidRule {
                    number: index + 1,
                    problem,
                });
            }
        }
        Ok((!rules.is_empty()).then(|| Self {
            decides_storing: rules.iter().any(|rule| rule.actions.stores.is_some()),
            rules,
        }))
    }

    /// Whether it is known of a request alone that its response is not stored.
    pub(crate) fn refuse(&self, request: &RequestHead<'_>) -> bool {
        if !self.decides_storing {
            return false;
        }
        self.rules
            .iter()
            .filter(|rule| rule.actions.stores.is_some())
            .find(|rule| rule.matches_request(request))
            // One that waits for the response may still let it be stored.
            .is_some_and(|rule| rule.is_about_request() && rule.actions.stores == Some(false))
    }

    /// Whether any of them says of parameters that do not count.
    pub(super) fn ignore(&self) -> bool {
        let mut rules = self.rules.iter();
        rules.any(|rule| rule.actions.ignored_parameters.is_some())
    }

    /// The parameters that do not count, if a rule says so.
    pub(crate) fn ignored_parameters(
        &self,
        request: &RequestHead<'_>,
    ) -> Option<&IgnoredParameters> {
        self.rules
            .iter()
            .filter(|rule| rule.actions.ignored_parameters.is_some())
            .find(|rule| rule.matches_request(request))
            .and_then(|rule| rule.actions.ignored_parameters.as_ref())
    }

    /// The rules whose conditions hold, first to last.
    pub(super) fn matching<'a>(
        &'a self,
        request: &'a RequestHead<'_>,
        response: &'a ResponseHead<'_>,
    ) -> impl Iterator<Item = &'a Rule> {
        self.rules.iter().filter(move |rule| {
            rule.matches_request(request) && rule.matches_response(request, response)
        })
    }
}

const LATE: &str = "parameters are ignored when the key is made, before there is a response; \
                    write conditions about the request alone: a host, a path, a method";

/// A rule that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidRule {
    number: usize,
    problem: Problem,
}

impl fmt::Display for InvalidRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rule {}: {}", self.number, self.problem)
    }
}

impl Error for InvalidRule {}

/// The authority that a request is for.
fn authority(request: &RequestHead<'_>) -> Option<Authority> {
    match request.uri.authority() {
        Some(authority) => Some(authority.clone()),
        None => Authority::try_from(request.headers.get(HOST)?.as_bytes()).ok(),
    }
}

fn matches_host(hosts: &[HostPattern], request: &RequestHead<'_>) -> bool {
    let Some(authority) = authority(request) else {
        return false;
    };
    let port = authority
        .port_u16()
        .or_else(|| match request.uri.scheme_str() {
            Some("http") => Some(80),
            Some("https") => Some(443),
            _ => None,
        });
    hosts
        .iter()
        .any(|host| host.matches(authority.host(), port))
}

fn matches_path(paths: &[Glob], request: &RequestHead<'_>) -> bool {
    let mut normalised = Vec::new();
    let path = match request.uri.path() {
        "" => "/",
        path => path,
    };
    key::normalise_escapes(path.as_bytes(), &mut normalised);
    paths.iter().any(|path| path.matches(&normalised))
}

#[cfg(feature = "regex")]
fn url(request: &RequestHead<'_>) -> String {
    let scheme = request.uri.scheme_str().unwrap_or("http");
    let authority = authority(request);
    // Credentials are not part of what a URL is recognised by.
    let host = authority.as_ref().map_or("", |authority| {
        let authority = authority.as_str();
        authority
            .rsplit_once('@')
            .map_or(authority, |(_, host)| host)
    });
    let path = match request.uri.path() {
        "" => "/",
        path => path,
    };
    let query = request.uri.query();
    let (mark, query) = query.map_or(("", ""), |query| ("?", query));
    let host = host.to_ascii_lowercase();
    format!("{scheme}://{host}{path}{mark}{query}")
}

fn matches_status(statuses: &[RangeInclusive<u16>], status: StatusCode) -> bool {
    statuses
        .iter()
        .any(|codes| codes.contains(&status.as_u16()))
}

fn matches_content_type(content_types: &[Glob], headers: &HeaderMap) -> bool {
    let Some(value) = headers.get(CONTENT_TYPE) else {
        return false;
    };
    let essence = value.as_bytes().split(|byte| *byte == b';').next();
    let essence = essence.unwrap_or_default().trim_ascii();
    let essence = essence.to_ascii_lowercase();
    content_types
        .iter()
        .any(|content_type| content_type.matches(&essence))
}

//! What a cache may give to a caller (RFC 9111, RFC 9110 §13 and §14, RFC 5861).
//!
//! Written from the RFCs, for the few fields that scripts have. A response shows by itself which
//! responses of the origin it was made of; the rest is arithmetic on what the origin said.

use std::ops::Range;

use cache_tower::CacheMode;
use http::header::{AGE, CONTENT_RANGE, HeaderValue};
use http::response::Parts;

use crate::clock::date;
use crate::origin::{GIVEN, Given, Journal, LENGTH, places};
use crate::script::{AnswerDirectives, Ask, Ending, Script};

/// What the caller saw.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) head: Parts,
    pub(crate) bytes: Vec<u8>,
    pub(crate) end: End,
}

/// How the body ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    InOrder,
    Broken,
    /// The caller did not read to the end.
    Unread,
}

/// One exchange to judge, the last in the journal.
pub(crate) struct Case<'a> {
    pub(crate) script: &'a Script,
    pub(crate) journal: &'a Journal,
    pub(crate) answered_at: u64,
}

impl Case<'_> {
    /// Panics where the caller saw what it may not see; `None`: no response.
    pub(crate) fn judge(&self, seen: &Option<Seen>) {
        let ask = self.ask();
        let asked = self.journal.awaited;
        self.require(asked <= 1, "the origin is asked once at most", seen);
        self.require(
            asked == 0 || !ask.wants_stored_only(),
            "only-if-cached keeps a request from the origin (RFC 9111 §5.2.1.7)",
            seen,
        );
        let Some(response) = seen else {
            let is_lost = !self.journal.is_disconnected;
            return self.require(!is_lost, "the caller never loses a response", seen);
        };
        let chain = self.chain(response);
        let rule = match chain.as_slice() {
            [] => self.judge_none(response),
            [only] if self.is_of_now(only) => self.judge_passed(response, only),
            _ => self.judge_stored(response, &chain),
        };
        self.require(rule.is_ok(), rule.err().unwrap_or_default(), seen);
    }

    /// A response of the cache itself.
    fn judge_none(&self, seen: &Seen) -> Result<(), &'static str> {
        let ask = self.ask();
        let has_no_part = ask.range.is_some_and(|range| places(range).is_none());
        let is_own = match seen.head.status.as_u16() {
            504 => ask.wants_stored_only(),
            416 => has_no_part && seen.bytes.is_empty(),
            _ => false,
        };
        rule(is_own, "a response comes from the origin, now or earlier")
    }

    /// A response on its way from the origin.
    fn judge_passed(&self, seen: &Seen, given: &Numbered<'_>) -> Result<(), &'static str> {
        let ask = self.ask();
        let status = seen.head.status.as_u16();
        rule(
            status == given.status,
            "the status of a response that passes is the origin's",
        )?;
        let own = [
            ask.if_none_match.map(HeaderValue::from_static),
            ask.if_modified_since
                .map(|at| HeaderValue::try_from(date(at)).expect("a date")),
        ];
        rule(
            status != 304 || given.sent == own,
            "a 304 reaches the caller only for what the caller asked (RFC 9111 §4.3.3)",
        )?;
        let Range { start, end } = given.places;
        let (places, expected_end) = match given.answer.ending {
            Ending::Whole | Ending::Long => (start..end, End::InOrder),
            Ending::Short => (start..start + (end - start) / 2, End::InOrder),
            Ending::Breaks => (
                start..start + (end - start) / 2,
                match start == end {
                    true => End::InOrder,
                    false => End::Broken,
                },
            ),
        };
        judge_bytes(seen, given.number, places, expected_end)
    }

    /// A response from the store, validated now or not.
    fn judge_stored(&self, seen: &Seen, chain: &[Numbered<'_>]) -> Result<(), &'static str> {
        let ask = self.ask();
        let passes = ask.directives.no_store
            || ask.if_match.is_some()
            || !matches!(ask.method, "GET" | "HEAD")
            || matches!(ask.mode, CacheMode::NoStore | CacheMode::Reload);
        rule(!passes, "this request is for the origin")?;
        let answer = self
            .journal
            .given
            .iter()
            .rfind(|given| self.is_of_now(given));
        // The answer to HEAD may freshen what is stored (RFC 9111 §4.3.5).
        let is_freshened = chain.last().is_some_and(|given| self.is_of_now(given));
        let is_validated = is_freshened || answer.is_some_and(|given| given.status == 304);
        let is_error = answer.is_some_and(|given| matches!(given.status, 500 | 502..=504));
        rule(
            answer.is_none() || is_validated || is_error,
            "what the origin answers reaches the caller",
        )?;
        self.judge_source(chain)?;
        self.judge_validations(chain)?;
        self.judge_changes(chain)?;
        let stored = Stored::of(chain, self.script.is_shared);
        stored.judge_selection(ask, |given| self.is_of_now(given))?;
        stored.judge_answer(ask, seen)?;
        self.judge_age(seen, &stored)?;
        if is_validated {
            return Ok(());
        }
        self.judge_freshness(&stored, is_error)
    }

    /// Everything comes from responses to this URI, in this partition, that may be stored.
    fn judge_source(&self, chain: &[Numbered<'_>]) -> Result<(), &'static str> {
        let ask = self.ask();
        let is_shared = self.script.is_shared;
        for (index, given) in chain.iter().enumerate() {
            rule(
                given.ask.resource == ask.resource,
                "a response is for its URI (RFC 9111 §4)",
            )?;
            rule(
                is_shared || partition(&given.ask) == partition(ask),
                "a response stays in its partition",
            )?;
            if self.is_of_now(given) {
                continue;
            }
            let said = given.answer.directives;
            let asked = given.ask.directives;
            rule(!said.no_store, "no-store is not stored (RFC 9111 §5.2.2.5)")?;
            rule(
                !asked.no_store && given.ask.mode != CacheMode::NoStore,
                "what answers a request with no-store is not stored (RFC 9111 §5.2.1.5)",
            )?;
            rule(
                given.ask.mode != CacheMode::ReadOnly,
                "the mode that writes nothing writes nothing",
            )?;
            if is_shared {
                rule(
                    !said.private,
                    "private is not stored by a shared cache (RFC 9111 §5.2.2.7)",
                )?;
                let by_then = Stored::of(&chain[..=index], true).directives;
                rule(
                    given.ask.authorization.is_none()
                        || by_then.public
                        || by_then.must_revalidate
                        || by_then.s_maxage.is_some(),
                    "what credentials were needed for is not for all (RFC 9111 §3.5)",
                )?;
            }
        }
        let body = &chain[0];
        let is_what_get_gets = match body.ask.method {
            "GET" => body.status != 304,
            "POST" => body.status == 200 && body.answer.describes_target,
            _ => false,
        };
        rule(
            is_what_get_gets,
            "a GET is answered with what a GET gets (RFC 9111 §4)",
        )?;
        rule(
            body.is_whole,
            "what was cut off is not served (RFC 9111 §3.3)",
        )
    }

    /// Each freshening was one for this response.
    fn judge_validations(&self, chain: &[Numbered<'_>]) -> Result<(), &'static str> {
        for (index, given) in chain.iter().enumerate().skip(1) {
            let before = Stored::of(&chain[..index], self.script.is_shared);
            let same_tag = match (before.etag, given.answer.etag) {
                (Some(old), Some(new)) => opaque(old) == opaque(new),
                (None, Some(new)) => new.starts_with("W/"),
                (_, None) => true,
            };
            let same_date = match (before.last_modified, given.answer.last_modified) {
                (Some(old), Some(new)) => old == new || given.answer.etag.is_some(),
                _ => true,
            };
            let is_update = match given.ask.method {
                "HEAD" => given.status == 304 || given.status == chain[0].status,
                _ => given.status == 304,
            };
            rule(
                same_tag && same_date && is_update,
                "a 304 freshens what it is about (RFC 9111 §4.3.4)",
            )?;
            rule(
                given.status != 304 || given.sent.iter().any(Option::is_some),
                "a 304 answers a precondition (RFC 9111 §4.3.3)",
            )?;
        }
        Ok(())
    }

    /// Nothing from before a change is served after it (RFC 9111 §4.4).
    fn judge_changes(&self, chain: &[Numbered<'_>]) -> Result<(), &'static str> {
        let ask = self.ask();
        let is_changed = self
            .journal
            .given
            .iter()
            .skip(chain[0].number)
            .any(|given| {
                given.ask.is_unsafe()
                    && (200..400).contains(&given.status)
                    && given.ask.mode != CacheMode::ReadOnly
                    && given.ask.resource == ask.resource
                    && (self.script.is_shared || partition(&given.ask) == partition(ask))
                    && !std::ptr::eq(given, chain[0].given)
            });
        rule(
            !is_changed,
            "what was changed is not served as it was (RFC 9111 §4.4)",
        )
    }

    /// `Age` is the age (RFC 9111 §5.1).
    fn judge_age(&self, seen: &Seen, stored: &Stored<'_>) -> Result<(), &'static str> {
        let seconds = |now| stored.age(now) / 1_000_000;
        let possible = seconds(self.began_at())..=seconds(self.answered_at);
        let age = seen.head.headers.get(AGE).and_then(|age| age.to_str().ok());
        let age = age.and_then(|age| age.parse().ok());
        rule(
            age.is_some_and(|age| possible.contains(&age)),
            "Age is the age (RFC 9111 §4.2.3)",
        )
    }

    /// It may be reused without validation (RFC 9111 §4.2, §5.2, RFC 5861).
    fn judge_freshness(&self, stored: &Stored<'_>, is_error: bool) -> Result<(), &'static str> {
        let ask = self.ask();
        let asked = ask.directives;
        let said = stored.directives;
        let age = stored.age(self.began_at());
        let stale_for = age.saturating_sub(stored.lifetime);
        let is_fresh = stored.lifetime > age;
        let is_shared = self.script.is_shared;
        let covers = |window: Option<u64>| window.is_some_and(|window| stale_for <= micros(window));

        rule(
            !said.no_cache,
            "no-cache is validated before each use (RFC 9111 §5.2.2.4)",
        )?;
        let must_revalidate =
            said.must_revalidate || is_shared && (said.proxy_revalidate || said.s_maxage.is_some());
        rule(
            is_fresh || !must_revalidate,
            "must-revalidate is not served stale (RFC 9111 §5.2.2.2)",
        )?;
        let takes_stale = matches!(ask.mode, CacheMode::ForceCache | CacheMode::OnlyIfCached);
        if takes_stale {
            return Ok(());
        }
        let has_failed = is_error || self.journal.is_disconnected;
        let wants_validation = asked.no_cache || ask.mode == CacheMode::NoCache;
        rule(
            !wants_validation || has_failed && covers(asked.stale_if_error),
            "a request with no-cache gets what is validated (RFC 9111 §5.2.1.4)",
        )?;
        let stands_in = self.journal.is_disconnected
            || is_error && (covers(asked.stale_if_error) || covers(said.stale_if_error));
        if stands_in {
            return Ok(());
        }
        rule(
            !is_error,
            "nothing stands in for an error that the origin gave (RFC 5861 §4)",
        )?;
        rule(
            asked.max_age.is_none_or(|most| age <= micros(most)),
            "a request's max-age holds (RFC 9111 §5.2.1.1)",
        )?;
        rule(
            asked
                .min_fresh
                .is_none_or(|least| stored.lifetime >= age + micros(least)),
            "a request's min-fresh holds (RFC 9111 §5.2.1.3)",
        )?;
        rule(
            is_fresh || covers(asked.max_stale) || covers(said.stale_while_revalidate),
            "what is stale is validated (RFC 9111 §4.2.4)",
        )
    }

    /// The responses that this one was made of, the oldest first.
    fn chain(&self, seen: &Seen) -> Vec<Numbered<'_>> {
        let names = seen.head.headers.keys();
        let mut numbers: Vec<usize> = names
            .filter_map(|name| name.as_str().strip_prefix(GIVEN)?.parse().ok())
            .collect();
        numbers.sort_unstable();
        let numbered = |number: usize| Numbered {
            number,
            given: &self.journal.given[number],
        };
        numbers.into_iter().map(numbered).collect()
    }

    fn ask(&self) -> &Ask {
        &self.script.steps[self.journal.step].ask
    }

    fn began_at(&self) -> u64 {
        self.journal.began_at[self.journal.step]
    }

    /// Whether the origin gave it to this very request.
    fn is_of_now(&self, given: &Given) -> bool {
        given.step == self.journal.step && given.is_awaited
    }

    #[track_caller]
    fn require(&self, holds: bool, rule: &str, seen: &Option<Seen>) {
        if holds {
            return;
        }
        let script = self.script;
        eprintln!("shared: {}, slow: {}", script.is_shared, script.is_slow);
        for (index, step) in script.steps[..=self.journal.step].iter().enumerate() {
            eprintln!("step {index}: {step:?}");
        }
        for (number, given) in self.journal.given.iter().enumerate() {
            let Given {
                step,
                is_awaited,
                status,
                sent,
                places,
                ..
            } = given;
            eprintln!(
                "given {number}: in step {step}, awaited {is_awaited}, {status}, {places:?}, to {sent:?}"
            );
        }
        eprintln!("seen: {seen:?}");
        panic!("broken: {rule}");
    }
}

/// A response of the origin and its number.
struct Numbered<'a> {
    number: usize,
    given: &'a Given,
}

impl std::ops::Deref for Numbered<'_> {
    type Target = Given;

    fn deref(&self) -> &Given {
        self.given
    }
}

/// What a stored response says, after all that freshened it (RFC 9111 §3.2).
struct Stored<'a> {
    body: &'a Numbered<'a>,
    last: &'a Numbered<'a>,
    directives: AnswerDirectives,
    etag: Option<&'static str>,
    last_modified: Option<u64>,
    /// The response whose `Vary` counts.
    varied: Option<&'a Numbered<'a>>,
    /// In microseconds.
    lifetime: u64,
}

impl<'a> Stored<'a> {
    fn of(chain: &'a [Numbered<'a>], is_shared: bool) -> Self {
        let (body, last) = (&chain[0], &chain[chain.len() - 1]);
        let newest = || chain.iter().rev();
        let directives = newest()
            .map(|given| given.answer.directives)
            .find(|directives| directives.field().is_some())
            .unwrap_or_default();
        let last_modified = newest().find_map(|given| given.answer.last_modified);
        let expires = newest().find_map(|given| given.expires);
        let dated_at = last.date.unwrap_or(last.received_at);
        let s_maxage = directives.s_maxage.filter(|_| is_shared);
        let lifetime = match (s_maxage.or(directives.max_age), expires, last_modified) {
            (Some(seconds), _, _) => micros(seconds),
            (None, Some(at), _) => at.map_or(0, |at| at.saturating_sub(dated_at) * 1000),
            (None, None, Some(at)) if directives.public || is_cacheable(body.status) => {
                (dated_at.saturating_sub(at) * 100).min(micros(24 * 60 * 60))
            }
            _ => 0,
        };
        Self {
            body,
            last,
            directives,
            etag: newest().find_map(|given| given.answer.etag),
            last_modified,
            varied: newest().find(|given| !given.answer.vary.is_empty()),
            lifetime,
        }
    }

    /// In microseconds (RFC 9111 §4.2.3).
    fn age(&self, now: u64) -> u64 {
        let last = self.last;
        let dated_at = last.date.unwrap_or(last.received_at);
        let apparent = last.received_at.saturating_sub(dated_at);
        let corrected =
            last.answer.age.unwrap_or_default() * 1000 + (last.received_at - last.asked_at);
        (apparent.max(corrected) + now.saturating_sub(last.received_at)) * 1000
    }

    /// It was selected by the values that the request has (RFC 9111 §4.1).
    fn judge_selection(
        &self,
        ask: &Ask,
        is_of_now: impl Fn(&Given) -> bool,
    ) -> Result<(), &'static str> {
        let Some(varied) = self.varied.filter(|given| !is_of_now(given)) else {
            return Ok(());
        };
        let is_same =
            |name: &&str| *name != "*" && varied.ask.selecting(name) == ask.selecting(name);
        rule(
            varied.answer.vary.iter().all(is_same),
            "a response is for those whose fields it was selected by (RFC 9111 §4.1)",
        )
    }

    /// Status and content are what the request asks for.
    fn judge_answer(&self, ask: &Ask, seen: &Seen) -> Result<(), &'static str> {
        let body = self.body;
        let asked = ask.range.and_then(places);
        let places = match seen.head.status.as_u16() {
            304 => {
                rule(
                    self.is_known_to(ask),
                    "304 is for who has it already (RFC 9110 §15.4.5)",
                )?;
                0..0
            }
            206 => {
                let asked = asked.ok_or("206 is for who asks for a part (RFC 9110 §15.3.7)")?;
                let is_had = body.places.start <= asked.start && asked.end <= body.places.end;
                rule(is_had, "a part is of what is there (RFC 9111 §3.3)")?;
                // The bytes are those that came with the body's own tag.
                let is_of = |tag| [self.etag, body.answer.etag].contains(&Some(tag));
                let wants_it = ask
                    .if_range
                    .is_none_or(|tag| !tag.starts_with("W/") && is_of(tag));
                rule(wants_it, "If-Range holds (RFC 9110 §13.1.5)")?;
                let label = format!("bytes {}-{}/{LENGTH}", asked.start, asked.end - 1);
                let is_labelled = seen.head.headers.get(CONTENT_RANGE);
                rule(
                    is_labelled.is_some_and(|value| *value == label),
                    "a part says what it is (RFC 9110 §14.4)",
                )?;
                asked
            }
            416 => {
                rule(
                    ask.range.is_some() && asked.is_none(),
                    "416 is for a range of no bytes (RFC 9110 §15.5.17)",
                )?;
                0..0
            }
            status => {
                rule(
                    status == body.status && status != 206,
                    "the status is the stored one",
                )?;
                match ask.method {
                    "HEAD" => 0..0,
                    _ => body.places.clone(),
                }
            }
        };
        judge_bytes(seen, body.number, places, End::InOrder)
    }

    /// Whether the caller's own precondition says that it has this (RFC 9110 §13.1.2, §13.1.3).
    fn is_known_to(&self, ask: &Ask) -> bool {
        if let Some(tag) = ask.if_none_match {
            return tag == "*" || self.etag.is_some_and(|etag| opaque(etag) == opaque(tag));
        }
        let dated_at = self.last.date.unwrap_or(self.last.received_at);
        let modified_at = self.last_modified.unwrap_or(dated_at);
        ask.if_modified_since.is_some_and(|at| modified_at <= at)
    }
}

/// These bytes of this response and no others, and all of them where they were read to the end.
fn judge_bytes(
    seen: &Seen,
    number: usize,
    places: Range<u8>,
    end: End,
) -> Result<(), &'static str> {
    let first = number * usize::from(LENGTH);
    let expected: Vec<usize> = places.map(|place| first + usize::from(place)).collect();
    let found: Vec<usize> = seen.bytes.iter().copied().map(usize::from).collect();
    rule(
        expected.starts_with(&found),
        "every byte is of this response, in its place",
    )?;
    rule(
        seen.end == End::Unread || seen.end == end && found == expected,
        "a body is whole, or ends with an error",
    )
}

/// What keeps callers of a private cache apart.
fn partition(ask: &Ask) -> [Option<&'static str>; 2] {
    [ask.authorization, ask.cookie]
}

/// An entity tag without its weakness (RFC 9110 §8.8.3.2).
fn opaque(tag: &str) -> &str {
    tag.trim_start_matches("W/")
}

/// The statuses that a heuristic lifetime is for (RFC 9110 §15.1).
fn is_cacheable(status: u16) -> bool {
    matches!(
        status,
        200 | 203 | 204 | 206 | 300 | 301 | 308 | 404 | 405 | 410 | 414 | 501
    )
}

fn micros(seconds: u64) -> u64 {
    seconds * 1_000_000
}

fn rule(holds: bool, rule: &'static str) -> Result<(), &'static str> {
    if holds { Ok(()) } else { Err(rule) }
}

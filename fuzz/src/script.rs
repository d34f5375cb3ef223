//! What happens: exchanges, one after the other, decoded from bytes.

use cache_tower::CacheMode;

use crate::clock::START;
use crate::input::Input;

/// A kind of cache, and what happens to it.
#[derive(Debug)]
pub(crate) struct Script {
    pub(crate) is_shared: bool,
    /// Whether the store answers later.
    pub(crate) is_slow: bool,
    pub(crate) steps: Vec<Step>,
}

/// One exchange.
#[derive(Debug, Clone)]
pub(crate) struct Step {
    /// Seconds before it.
    pub(crate) wait: u64,
    pub(crate) fault: Option<(Operation, Fault)>,
    pub(crate) ask: Ask,
    /// What the origin answers whenever it is asked in this step.
    pub(crate) answer: Answer,
    pub(crate) reading: Reading,
    /// Whether background work comes to its end before the next step.
    pub(crate) settles: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    Lookup,
    Write,
    Publish,
    Freshen,
    Remove,
    Invalidate,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    Fails,
    Hangs,
}

/// How much of a body the caller reads before it drops it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reading {
    All,
    OneFrame,
    Nothing,
}

/// A request.
#[derive(Debug, Clone)]
pub(crate) struct Ask {
    pub(crate) method: &'static str,
    pub(crate) uri: &'static str,
    /// What the URI names; other spellings have the same number.
    pub(crate) resource: u8,
    pub(crate) authorization: Option<&'static str>,
    pub(crate) cookie: Option<&'static str>,
    pub(crate) language: Option<&'static str>,
    pub(crate) x_a: Option<&'static str>,
    pub(crate) directives: AskDirectives,
    pub(crate) range: Option<&'static str>,
    pub(crate) if_range: Option<&'static str>,
    pub(crate) if_none_match: Option<&'static str>,
    /// In milliseconds since 1970.
    pub(crate) if_modified_since: Option<u64>,
    pub(crate) if_match: Option<&'static str>,
    pub(crate) mode: CacheMode,
}

#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct AskDirectives {
    pub(crate) no_store: bool,
    pub(crate) no_cache: bool,
    pub(crate) only_if_cached: bool,
    pub(crate) max_age: Option<u64>,
    pub(crate) min_fresh: Option<u64>,
    pub(crate) max_stale: Option<u64>,
    pub(crate) stale_if_error: Option<u64>,
}

/// What the origin answers.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    /// Nothing at all.
    pub(crate) is_disconnected: bool,
    pub(crate) status: u16,
    pub(crate) directives: AnswerDirectives,
    pub(crate) etag: Option<&'static str>,
    /// In milliseconds since 1970.
    pub(crate) last_modified: Option<u64>,
    pub(crate) vary: &'static [&'static str],
    pub(crate) age: Option<u64>,
    pub(crate) date: Date,
    pub(crate) expires: Option<Date>,
    /// Whether a range is answered with 206.
    pub(crate) honours_range: bool,
    /// Whether `Content-Location` names the target.
    pub(crate) describes_target: bool,
    pub(crate) announces_length: bool,
    pub(crate) ending: Ending,
}

#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct AnswerDirectives {
    pub(crate) no_cache: bool,
    pub(crate) no_store: bool,
    pub(crate) private: bool,
    pub(crate) public: bool,
    pub(crate) must_revalidate: bool,
    pub(crate) proxy_revalidate: bool,
    pub(crate) max_age: Option<u64>,
    pub(crate) s_maxage: Option<u64>,
    pub(crate) stale_while_revalidate: Option<u64>,
    pub(crate) stale_if_error: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Date {
    Absent,
    /// Seconds from now.
    At(i64),
    Invalid,
}

/// How a body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    Whole,
    /// With an error, half way.
    Breaks,
    /// In good order, before the announced length.
    Short,
    /// Behind the announced length.
    Long,
}

impl Script {
    pub(crate) fn read(bytes: &[u8]) -> Self {
        let mut input = Input(bytes);
        let [is_shared, is_slow, ..] = input.flags();
        let mut steps = Vec::new();
        while !input.is_empty() && steps.len() < MOST_STEPS {
            steps.push(Step::read(&mut input));
        }
        Self {
            is_shared,
            is_slow,
            steps,
        }
    }
}

impl Step {
    fn read(input: &mut Input<'_>) -> Self {
        let wait = u64::from(input.byte()) % 201;
        let ask = Ask::read(input);
        let answer = Answer::read(input);
        use Operation::{Freshen, Invalidate, Lookup, Publish, Remove, Write};
        let operation = input.choose(&[
            None,
            None,
            None,
            Some(Lookup),
            Some(Write),
            Some(Publish),
            Some(Freshen),
            Some(Remove),
            Some(Invalidate),
        ]);
        let fault = input.choose(&[Fault::Fails, Fault::Hangs]);
        Self {
            wait,
            fault: operation.map(|operation| (operation, fault)),
            ask,
            // Who stops at the announced length never learns that more came.
            reading: match answer.ending {
                Ending::Long => Reading::All,
                _ => input.choose(&[
                    Reading::All,
                    Reading::All,
                    Reading::OneFrame,
                    Reading::Nothing,
                ]),
            },
            settles: input.choose(&[true, false]),
            answer,
        }
    }
}

impl Ask {
    fn read(input: &mut Input<'_>) -> Self {
        let method = input.choose(&["GET", "GET", "GET", "HEAD", "POST", "PUT", "OPTIONS"]);
        let (resource, uri) = input.choose(&[
            (0, "http://a.test/"),
            (0, "http://a.test/"),
            (0, "http://A.test:80/"),
            (1, "http://a.test/b"),
            (1, "http://a.test/%62"),
            (2, "http://a.test/?b"),
            (3, "http://b.test/"),
            (4, "https://a.test/"),
        ]);
        let (authorization, cookie) = input.choose(&[
            (None, None),
            (None, None),
            (Some("alice"), None),
            (Some("bob"), None),
            (None, Some("alice")),
        ]);
        Self {
            method,
            uri,
            resource,
            authorization,
            cookie,
            language: input.choose(&[None, Some("de"), Some("en")]),
            x_a: input.choose(&[None, Some("1"), Some("2")]),
            directives: AskDirectives::read(input),
            range: input.choose(&[
                None,
                None,
                Some("bytes=0-3"),
                Some("bytes=2-5"),
                Some("bytes=6-"),
                Some("bytes=-2"),
                Some("bytes=90-"),
            ]),
            if_range: input.choose(&[None, None, Some("\"1\""), Some("\"2\""), Some("W/\"1\"")]),
            if_none_match: input.choose(&[
                None,
                None,
                None,
                Some("\"1\""),
                Some("\"2\""),
                Some("W/\"1\""),
                Some("*"),
            ]),
            if_modified_since: input.choose(&[None, None, None, Some(LONG_AGO), Some(LATELY)]),
            if_match: input.choose(&[None, None, None, None, None, None, Some("\"1\"")]),
            mode: input.choose(&[
                CacheMode::Default,
                CacheMode::Default,
                CacheMode::Default,
                CacheMode::NoStore,
                CacheMode::Reload,
                CacheMode::NoCache,
                CacheMode::ForceCache,
                CacheMode::OnlyIfCached,
                CacheMode::ReadOnly,
            ]),
        }
    }

    /// The value of a field that `Vary` may name.
    pub(crate) fn selecting(&self, name: &str) -> Option<&'static str> {
        match name {
            "accept-language" => self.language,
            "x-a" => self.x_a,
            "authorization" => self.authorization,
            _ => None,
        }
    }

    /// Whether it may change something (RFC 9110 §9.2.1).
    pub(crate) fn is_unsafe(&self) -> bool {
        matches!(self.method, "POST" | "PUT")
    }

    /// Whether nothing but what is stored is wanted.
    pub(crate) fn wants_stored_only(&self) -> bool {
        self.directives.only_if_cached || self.mode == CacheMode::OnlyIfCached
    }
}

impl AskDirectives {
    fn read(input: &mut Input<'_>) -> Self {
        let mut directives = Self::default();
        for _ in 0..2 {
            match input.byte() % 16 {
                1 => directives.no_store = true,
                2 => directives.no_cache = true,
                3 => directives.only_if_cached = true,
                4 => directives.max_age = Some(0),
                5 => directives.max_age = Some(30),
                6 => directives.min_fresh = Some(30),
                7 => directives.max_stale = Some(u64::from(u32::MAX)),
                8 => directives.max_stale = Some(30),
                9 => directives.stale_if_error = Some(100),
                _ => {}
            }
        }
        directives
    }

    pub(crate) fn field(&self) -> Option<String> {
        list(&[
            word("no-store", self.no_store),
            word("no-cache", self.no_cache),
            word("only-if-cached", self.only_if_cached),
            seconds("max-age", self.max_age),
            seconds("min-fresh", self.min_fresh),
            seconds("max-stale", self.max_stale),
            seconds("stale-if-error", self.stale_if_error),
        ])
    }
}

impl Answer {
    fn read(input: &mut Input<'_>) -> Self {
        let status = input.choose(&[
            200, 200, 200, 200, 200, 304, 304, 304, 404, 301, 201, 204, 500, 503, 0,
        ]);
        Self {
            is_disconnected: status == 0,
            status,
            directives: AnswerDirectives::read(input),
            etag: input.choose(&[None, Some("\"1\""), Some("\"2\""), Some("W/\"1\"")]),
            last_modified: input.choose(&[None, None, Some(LONG_AGO), Some(LATELY)]),
            vary: input.choose(&[
                &[] as &[&str],
                &[],
                &["accept-language"],
                &["x-a"],
                &["x-a", "accept-language"],
                &["authorization"],
                &["*"],
            ]),
            age: input.choose(&[None, None, Some(0), Some(7), Some(50)]),
            date: input.choose(&[
                Date::Absent,
                Date::At(0),
                Date::At(0),
                Date::At(-20),
                Date::At(20),
                Date::Invalid,
            ]),
            expires: input.choose(&[
                None,
                None,
                Some(Date::At(60)),
                Some(Date::At(-10)),
                Some(Date::Invalid),
            ]),
            honours_range: input.choose(&[true, false]),
            describes_target: input.choose(&[false, true]),
            announces_length: input.choose(&[true, false]),
            ending: input.choose(&[
                Ending::Whole,
                Ending::Whole,
                Ending::Whole,
                Ending::Breaks,
                Ending::Short,
                Ending::Long,
            ]),
        }
    }
}

impl AnswerDirectives {
    fn read(input: &mut Input<'_>) -> Self {
        let (max_age, s_maxage) = input.choose(&[
            (Some(60), None),
            (None, None),
            (Some(0), None),
            (Some(10), None),
            (None, Some(60)),
            (Some(100), Some(10)),
            (Some(10), Some(100)),
        ]);
        let [
            no_cache,
            no_store,
            private,
            public,
            must_revalidate,
            proxy_revalidate,
            may_be_stale,
            may_stand_in,
        ] = input.flags();
        Self {
            no_cache,
            no_store,
            private,
            public,
            must_revalidate,
            proxy_revalidate,
            max_age,
            s_maxage,
            stale_while_revalidate: may_be_stale.then_some(50),
            stale_if_error: may_stand_in.then_some(100),
        }
    }

    pub(crate) fn field(&self) -> Option<String> {
        list(&[
            word("no-cache", self.no_cache),
            word("no-store", self.no_store),
            word("private", self.private),
            word("public", self.public),
            word("must-revalidate", self.must_revalidate),
            word("proxy-revalidate", self.proxy_revalidate),
            seconds("max-age", self.max_age),
            seconds("s-maxage", self.s_maxage),
            seconds("stale-while-revalidate", self.stale_while_revalidate),
            seconds("stale-if-error", self.stale_if_error),
        ])
    }
}

fn word(name: &str, is_set: bool) -> Option<String> {
    is_set.then(|| name.to_owned())
}

fn seconds(name: &str, value: Option<u64>) -> Option<String> {
    value.map(|value| format!("{name}={value}"))
}

fn list(members: &[Option<String>]) -> Option<String> {
    let members: Vec<&str> = members.iter().flatten().map(String::as_str).collect();
    (!members.is_empty()).then(|| members.join(", "))
}

/// More steps than this are not read, so that every response has a number of five bits.
const MOST_STEPS: usize = 12;

/// Dates of changes, and of copies that callers have.
const LONG_AGO: u64 = START / 1000 * 1000 - 10_000_000;
const LATELY: u64 = START / 1000 * 1000 - 1_000_000;

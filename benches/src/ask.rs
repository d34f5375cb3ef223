//! What is asked for: one thing, or one of many at random.

use std::sync::Arc;

use http::{HeaderName, Request, Uri};

use crate::exchange::{Asked, RequestBody};

/// Who makes the requests.
pub(crate) trait Ask: Clone + Send + Sync + 'static {
    /// How many responses there are.
    fn count(&self) -> u64;

    /// The request for one of them.
    fn nth(&self, n: u64) -> Request<RequestBody>;

    /// The request for one of them at random, the same for the same draw.
    fn any(&self, draw: u64) -> Request<RequestBody> {
        self.nth(below(self.count(), draw))
    }
}

impl Ask for Asked {
    fn count(&self) -> u64 {
        1
    }

    fn nth(&self, _: u64) -> Request<RequestBody> {
        self.request()
    }

    fn any(&self, _: u64) -> Request<RequestBody> {
        self.request()
    }
}

/// Some requests, made beforehand.
#[derive(Clone)]
pub(crate) struct Listed(Arc<[Asked]>);

impl Listed {
    /// For so many URIs.
    pub(crate) fn uris(count: u64) -> Self {
        let all = (0..count).map(|n| Asked::at(String::leak(uri(n))));
        Self(all.collect())
    }

    /// For one URI, with so many values of a field.
    pub(crate) fn values(name: &HeaderName, count: u64) -> Self {
        let all = (0..count).map(|n| {
            let value = String::leak(format!("en-{n}, en;q=0.8"));
            Asked::new().with(name.clone(), value)
        });
        Self(all.collect())
    }
}

impl Ask for Listed {
    fn count(&self) -> u64 {
        self.0.len() as u64
    }

    fn nth(&self, n: u64) -> Request<RequestBody> {
        self.0[n as usize].request()
    }
}

/// More requests than can be kept.
#[derive(Clone)]
pub(crate) struct Numbered {
    asked: Asked,
    count: u64,
}

impl Numbered {
    pub(crate) fn new(count: u64) -> Self {
        Self {
            asked: Asked::new(),
            count,
        }
    }
}

impl Ask for Numbered {
    fn count(&self) -> u64 {
        self.count
    }

    fn nth(&self, n: u64) -> Request<RequestBody> {
        let uri = Uri::try_from(uri(n)).expect("a URI");
        self.asked.request_for(uri)
    }
}

fn uri(n: u64) -> String {
    format!("http://origin.example/catalogue/items/{n}?lang=en&view=full")
}

/// A number below `count` that looks random: SplitMix64.
pub(crate) fn below(count: u64, draw: u64) -> u64 {
    let mut mixed = draw.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^= mixed >> 31;
    ((u128::from(mixed) * u128::from(count)) >> 64) as u64
}

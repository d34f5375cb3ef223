//! What there is at the origin.

use bytes::Bytes;
use fastrand::Rng;

/// Things of one kind.
#[derive(Debug)]
pub(crate) struct Class {
    pub(crate) name: &'static str,
    pub(crate) keys: usize,
    pub(crate) length: usize,
    pub(crate) control: &'static str,
    /// In milliseconds.
    pub(crate) lifetime: u64,
    /// How long it may be served stale, in milliseconds.
    pub(crate) stale: u64,
    pub(crate) is_varied: bool,
    /// After how many seconds the content is another; zero: never.
    pub(crate) changes_after: u64,
    /// How long the origin takes, in milliseconds.
    pub(crate) takes: u64,
    /// How often it is asked for, as a share of all.
    pub(crate) share: usize,
}

const fn class(name: &'static str, keys: usize, length: usize, control: &'static str) -> Class {
    Class {
        name,
        keys,
        length,
        control,
        lifetime: 0,
        stale: 0,
        is_varied: false,
        changes_after: 7,
        takes: 5,
        share: 10,
    }
}

pub(crate) static SITE: [Class; 9] = [
    Class {
        lifetime: 2_000,
        share: 30,
        ..class("small", 200, 300, "max-age=2")
    },
    Class {
        lifetime: 5_000,
        ..class("medium", 100, 20_000, "max-age=5")
    },
    Class {
        lifetime: 10_000,
        takes: 20,
        share: 2,
        // The only ones that are read from Redis piece by piece: what Redis loses in the middle can be
        // had from the origin as long as that still has it.
        changes_after: 0,
        ..class("large", 10, 1_500_000, "max-age=10")
    },
    Class {
        lifetime: 3_000,
        takes: 300,
        ..class("slow", 20, 2_000, "max-age=3")
    },
    Class {
        lifetime: 1_000,
        takes: 200,
        ..class("hot and slow", 1, 2_000, "max-age=1")
    },
    Class {
        lifetime: 1_000,
        stale: 5_000,
        takes: 50,
        ..class(
            "stale while revalidating",
            50,
            5_000,
            "max-age=1, stale-while-revalidate=5",
        )
    },
    Class {
        lifetime: 3_000,
        is_varied: true,
        ..class("varied", 20, 1_000, "max-age=3")
    },
    Class {
        share: 5,
        ..class("validated", 50, 5_000, "no-cache")
    },
    Class {
        share: 5,
        ..class("not stored", 20, 1_000, "no-store")
    },
];

pub(crate) const KINDS: [&str; 3] = ["a", "b", "c"];

/// What somebody asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Thing {
    pub(crate) class: usize,
    pub(crate) key: usize,
    pub(crate) kind: Option<usize>,
}

impl Thing {
    pub(crate) fn drawn(random: &mut Rng) -> Self {
        let all: usize = SITE.iter().map(|class| class.share).sum();
        let mut drawn = random.usize(..all);
        let mut class = 0;
        while drawn >= SITE[class].share {
            drawn -= SITE[class].share;
            class += 1;
        }
        // Some are asked for more often than others.
        let keys = SITE[class].keys;
        let key = random.usize(..keys).min(random.usize(..keys));
        Self {
            class,
            key,
            kind: SITE[class].is_varied.then(|| random.usize(..KINDS.len())),
        }
    }

    pub(crate) fn class(&self) -> &'static Class {
        &SITE[self.class]
    }

    pub(crate) fn path(&self) -> String {
        format!("/{}/{}", self.class, self.key)
    }

    pub(crate) fn kind(&self) -> Option<&'static str> {
        self.kind.map(|kind| KINDS[kind])
    }

    /// A thing by its path.
    pub(crate) fn read(path: &str, kind: Option<&str>) -> Option<Self> {
        let (class, key) = path.strip_prefix('/')?.split_once('/')?;
        let class: usize = class.parse().ok()?;
        let is_varied = SITE.get(class)?.is_varied;
        let kind = KINDS.iter().position(|known| Some(*known) == kind);
        Some(Self {
            class,
            key: key.parse().ok()?,
            kind: kind.filter(|_| is_varied),
        })
    }

    pub(crate) fn tag(&self, version: u64) -> String {
        let kind = self.kind().unwrap_or("-");
        format!("\"{}.{}.{kind}.{version}\"", self.class, self.key)
    }

    /// The version that a tag of it names.
    pub(crate) fn version(&self, tag: &str) -> Option<u64> {
        let version = tag.trim_matches('"').rsplit('.').next()?.parse().ok()?;
        (self.tag(version) == tag).then_some(version)
    }

    pub(crate) fn content(&self, version: u64) -> Bytes {
        let kind = self.kind.map_or(0, |kind| kind as u64 + 1);
        let seed = (self.class as u64) << 48 | (self.key as u64) << 32 | kind << 28 | version;
        let mut bytes = vec![0; self.class().length];
        Rng::with_seed(seed).fill(&mut bytes);
        bytes.into()
    }
}

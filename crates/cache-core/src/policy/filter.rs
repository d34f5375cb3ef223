//! What functions say of storing and reuse.

use std::fmt;
use std::sync::Arc;

use crate::exchange::ResponseHead;
use crate::request::RequestHead;
use crate::stored::StoredHead;

/// The filters of a policy.
#[derive(Clone, Default)]
pub(crate) struct Filters {
    storing: Vec<HeadFilter>,
    reuse: Vec<HeadFilter>,
    body: Option<(u64, BodyFilter)>,
}

type HeadFilter = Arc<dyn Fn(&RequestHead<'_>, &ResponseHead<'_>) -> bool + Send + Sync>;
type BodyFilter = Arc<dyn Fn(&ResponseHead<'_>, &[u8]) -> bool + Send + Sync>;

impl Filters {
    pub(super) fn add_storing(&mut self, filter: HeadFilter) {
        self.storing.push(filter);
    }

    pub(super) fn add_reuse(&mut self, filter: HeadFilter) {
        self.reuse.push(filter);
    }

    pub(super) fn set_body(&mut self, limit: u64, filter: BodyFilter) {
        self.body = Some((limit, filter));
    }

    pub(super) fn body(&self) -> Option<&(u64, BodyFilter)> {
        self.body.as_ref()
    }

    pub(crate) fn permit_storing(
        &self,
        request: &RequestHead<'_>,
        response: &ResponseHead<'_>,
    ) -> bool {
        self.storing.iter().all(|filter| filter(request, response))
    }

    pub(crate) fn permit_reuse(&self, request: &RequestHead<'_>, stored: &StoredHead) -> bool {
        let response = ResponseHead {
            status: stored.status,
            version: stored.version,
            headers: &stored.headers,
        };
        self.reuse.iter().all(|filter| filter(request, &response))
    }
}

impl fmt::Debug for Filters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Filters")
            .field("storing", &self.storing.len())
            .field("reuse", &self.reuse.len())
            .field("has_body", &self.body.is_some())
            .finish()
    }
}

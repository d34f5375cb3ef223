//! The port of management.

use std::fmt;
use std::sync::Arc;

use cache_core::{
    Answer, Backend, BackendError, BackendErrorKind, Batch, Entry, Listed, Manage, Progress, Walk,
};

use crate::backend::CodecBackend;
use crate::envelope::{Envelopes, Opened};

impl<B: Backend> CodecBackend<B> {
    fn managed(&self) -> Result<&dyn Manage, BackendError> {
        let unsupported = || BackendError::new(BackendErrorKind::Unsupported, "managing");
        self.inner.manage().ok_or_else(unsupported)
    }
}

impl<B: Backend> Manage for CodecBackend<B> {
    fn walk(&self) -> Box<dyn Walk> {
        Box::new(CodecWalk {
            inner: self.managed().ok().map(Manage::walk),
            envelopes: self.envelopes.clone(),
        })
    }

    fn open<'a>(&'a self, listed: &'a Listed) -> Answer<'a, Result<Option<Entry>, BackendError>> {
        Answer::later(async move {
            let outline = self.outline(&listed.head, listed.token);
            let stored = self.managed()?.open(&outline).wait().await?;
            Ok(stored.and_then(|stored| self.envelopes.open_entry(&stored)))
        })
    }

    fn remove_listed<'a>(&'a self, listed: &'a [Listed]) -> Answer<'a, Result<u64, BackendError>> {
        Answer::later(async move {
            let outline = |one: &Listed| self.outline(&one.head, one.token);
            let outlines: Vec<Listed> = listed.iter().map(outline).collect();
            self.managed()?.remove_listed(&outlines).wait().await
        })
    }

    fn clear<'a>(
        &'a self,
        on_progress: &'a mut (dyn FnMut(Progress) + Send),
    ) -> Answer<'a, Result<Progress, BackendError>> {
        match self.managed() {
            Ok(manage) => manage.clear(on_progress),
            Err(error) => Answer::Now(Err(error)),
        }
    }
}

struct CodecWalk {
    inner: Option<Box<dyn Walk>>,
    envelopes: Arc<Envelopes>,
}

impl CodecWalk {
    fn open(&self, stored: &Listed) -> Option<Listed> {
        let Opened { head, id } = self.envelopes.open_head(&stored.head)?;
        let tail = self.envelopes.open_tail(stored.trailers.as_ref(), &id)?;
        Some(Listed {
            head: Arc::new(head),
            body_length: tail.length,
            bytes: stored.bytes,
            trailers: tail.trailers(),
            token: stored.token,
        })
    }
}

impl Walk for CodecWalk {
    fn next_batch(&mut self) -> Answer<'_, Result<Option<Batch>, BackendError>> {
        Answer::later(async move {
            let Some(inner) = &mut self.inner else {
                return Ok(None);
            };
            let Some(batch) = inner.next_batch().wait().await? else {
                return Ok(None);
            };
            let met = batch.listed.len() as u64;
            let listed: Vec<Listed> = batch
                .listed
                .iter()
                .filter_map(|one| self.open(one))
                .collect();
            let rejected = met - listed.len() as u64;
            Ok(Some(Batch::new(listed, batch.unreadable + rejected)))
        })
    }
}

impl fmt::Debug for CodecWalk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CodecWalk")
            .field("inner", &self.inner)
            .finish_non_exhaustive()
    }
}

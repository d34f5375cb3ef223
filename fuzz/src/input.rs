//! Bytes as choices.

/// The rest of an input. Behind its end there are zeros, and zero is the plainest choice.
pub(crate) struct Input<'a>(pub(crate) &'a [u8]);

impl Input<'_> {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else {
            return 0;
        };
        self.0 = rest;
        *first
    }

    pub(crate) fn choose<T: Copy>(&mut self, options: &[T]) -> T {
        options[usize::from(self.byte()) % options.len()]
    }

    /// Eight flags, each of them set one time in four.
    pub(crate) fn flags(&mut self) -> [bool; 8] {
        let byte = self.byte() & self.byte();
        std::array::from_fn(|bit| byte & 1 << bit != 0)
    }
}

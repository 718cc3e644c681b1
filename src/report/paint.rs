//! Colours, for terminals only.

/// Paints words, or leaves them as they are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Paint {
    /// Whether colours are wanted.
    pub(super) is_on: bool,
}

/// What a word is to say by its colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tone {
    /// It went well.
    Good,
    /// It did not.
    Bad,
    /// Somebody should look.
    Careful,
    /// It is under way.
    Busy,
    /// It matters less.
    Quiet,
}

impl Paint {
    pub(super) fn paint(self, tone: Tone, text: &str) -> String {
        if !self.is_on || text.is_empty() {
            return text.to_owned();
        }
        let code = match tone {
            Tone::Good => "1;32",
            Tone::Bad => "1;31",
            Tone::Careful => "1;33",
            Tone::Busy => "1;36",
            Tone::Quiet => "2",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }
}

/// The tone of a claim's verdict.
pub(super) fn of_verdict(verdict: &str) -> Tone {
    match verdict {
        "holds" => Tone::Good,
        "fails" => Tone::Bad,
        _ => Tone::Careful,
    }
}

//! Settings of the answers.

use std::time::Duration;

use crate::model::people::AllowList;

/// The longest silence that can be configured.
pub const LONGEST_SILENCE: Duration = Duration::from_secs(7 * 86_400);

/// Settings of the answers.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Settings {
    /// The people who may answer alerts.
    pub allow: AllowList,
    /// Length of a silence without a time.
    pub default_silence: Duration,
    /// Longest silence that a person may make.
    pub longest: Duration,
    /// Length of the silence that an acknowledgement makes; `None`: it is a note alone.
    pub acknowledge: Option<Duration>,
    /// A line about its state is added to the message of the alert.
    pub edit: bool,
    /// Pause between two looks at a community.
    pub interval: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            allow: AllowList::default(),
            default_silence: Duration::from_secs(3_600),
            longest: Duration::from_secs(86_400),
            acknowledge: None,
            edit: true,
            interval: Duration::from_secs(4),
        }
    }
}

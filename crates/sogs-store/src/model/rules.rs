//! Rules an operator can set for one room or for all rooms, beyond what the reference server has.
//!
//! One table is the single source of every rule: its name on the command line and in the database,
//! its type, unit, default, scope and description. The configuration reference is printed from it.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::reaction::ReactionRule;

/// Content of the page of a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WebView {
    /// No page at all: the answer is 404, as for a room that does not exist.
    Off,
    /// Name, description, picture and join link, but no messages.
    Info,
    /// Everything of `info` and the recent messages.
    Messages,
}

/// Scope of a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// For one room, or for all rooms at once.
    Room,
    /// For the whole server only.
    Server,
}

/// One row of the reference: what a rule is called and means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct RuleDoc {
    /// Name on the command line and in the database.
    pub name: &'static str,
    /// Type and unit as read by a person.
    pub unit: &'static str,
    /// Value of a rule that is not set.
    pub default: &'static str,
    /// Scope.
    pub scope: Scope,
    /// One or two sentences.
    pub text: &'static str,
}

/// A rule that could not be set, with what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RuleError {
    /// There is no rule of this name.
    #[error("unknown rule `{0}`; `ackpost server settings names` lists the rules")]
    Unknown(String),
    /// The value does not have the type of the rule.
    #[error("`{value}` is not a valid value for {name}; write {unit}")]
    Value {
        /// The rule.
        name: &'static str,
        /// Written value.
        value: String,
        /// Expected form.
        unit: &'static str,
    },
    /// A rule of the whole server was set for a room.
    #[error("{0} holds for the whole server and cannot be set for one room")]
    ServerOnly(&'static str),
}

/// A value that a rule can have: parsed from and printed to one word.
trait RuleValue: Sized {
    fn parse(text: &str) -> Option<Self>;
    fn print(&self) -> String;
}

impl RuleValue for u32 {
    fn parse(text: &str) -> Option<Self> {
        text.parse().ok()
    }
    fn print(&self) -> String {
        self.to_string()
    }
}

impl RuleValue for u64 {
    fn parse(text: &str) -> Option<Self> {
        text.parse().ok()
    }
    fn print(&self) -> String {
        self.to_string()
    }
}

impl RuleValue for f64 {
    fn parse(text: &str) -> Option<Self> {
        // A billion seconds or days is longer than anything the server can mean.
        text.parse()
            .ok()
            .filter(|value: &f64| value.is_finite() && (0.0..=1e9).contains(value))
    }
    fn print(&self) -> String {
        self.to_string()
    }
}

impl RuleValue for bool {
    fn parse(text: &str) -> Option<Self> {
        match text.to_ascii_lowercase().as_str() {
            "yes" | "true" | "on" | "1" => Some(true),
            "no" | "false" | "off" | "0" => Some(false),
            _ => None,
        }
    }
    fn print(&self) -> String {
        (if *self { "yes" } else { "no" }).to_owned()
    }
}

impl RuleValue for WebView {
    fn parse(text: &str) -> Option<Self> {
        match text.to_ascii_lowercase().as_str() {
            "off" | "no" => Some(Self::Off),
            "info" => Some(Self::Info),
            "messages" | "yes" => Some(Self::Messages),
            _ => None,
        }
    }
    fn print(&self) -> String {
        match self {
            Self::Off => "off",
            Self::Info => "info",
            Self::Messages => "messages",
        }
        .to_owned()
    }
}

impl RuleValue for ReactionRule {
    fn parse(text: &str) -> Option<Self> {
        match text.to_ascii_lowercase().as_str() {
            "off" | "no" => Some(Self::Off),
            "emoji" => Some(Self::Emoji),
            "any" | "yes" => Some(Self::Any),
            _ => None,
        }
    }
    fn print(&self) -> String {
        match self {
            Self::Off => "off",
            Self::Emoji => "emoji",
            Self::Any => "any",
        }
        .to_owned()
    }
}

macro_rules! rules {
    ($( $(#[doc = $doc:literal])+ $name:ident: $type:ty, $scope:ident, $unit:literal, $default:literal; )+) => {
        /// The rules of one room, or of the server; `None` means "not set here".
        #[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct Rules {
            $( $(#[doc = $doc])+ #[serde(skip_serializing_if = "Option::is_none")] pub $name: Option<$type>, )+
        }

        /// Every rule, in the order of the reference.
        pub const RULES: &[RuleDoc] = &[
            $( RuleDoc {
                name: stringify!($name),
                unit: $unit,
                default: $default,
                scope: Scope::$scope,
                text: concat!($($doc),+),
            }, )+
        ];

        impl Rules {
            /// Sets (or with `None` clears) one rule by its name.
            pub fn set(&mut self, name: &str, value: Option<&str>) -> Result<(), RuleError> {
                match name {
                    $( stringify!($name) => {
                        self.$name = match value {
                            None => None,
                            Some(text) => Some(<$type as RuleValue>::parse(text.trim()).ok_or_else(|| RuleError::Value {
                                name: stringify!($name),
                                value: text.to_owned(),
                                unit: $unit,
                            })?),
                        };
                        Ok(())
                    } )+
                    _ => Err(RuleError::Unknown(name.to_owned())),
                }
            }

            /// The text form of one rule that is set.
            pub fn get(&self, name: &str) -> Option<String> {
                match name {
                    $( stringify!($name) => self.$name.as_ref().map(RuleValue::print), )+
                    _ => None,
                }
            }

            /// These rules, and where one is not set, that of `base`.
            pub fn over(&self, base: &Self) -> Self {
                Self { $( $name: self.$name.clone().or_else(|| base.$name.clone()), )+ }
            }
        }
    };
}

rules! {
    /// Maximum number of posts of one user in one room within `rate_seconds`.
    rate_posts: u32, Room, "a number of posts", "5";
    /// The span over which `rate_posts` are counted.
    rate_seconds: f64, Room, "seconds", "16";
    /// Maximum number of edits of one user in one room within a minute.
    rate_edits: u32, Room, "a number of edits; 0 = no limit", "20";
    /// Maximum number of reactions that one user adds or removes in one room within a minute.
    rate_reactions: u32, Room, "a number of reactions; 0 = no limit", "30";
    /// Slow mode: the least time between two posts, two edits or two reactions of one user in a room. Moderators are exempt.
    slow_seconds: f64, Room, "seconds; 0 = off", "0";
    /// Reactions that a room accepts: none, one emoji each, or any short text.
    reactions: ReactionRule, Room, "off, emoji or any", "any";
    /// Maximum number of different reactions on one message.
    reaction_kinds: u32, Room, "a number of reactions; 0 = no limit", "0";
    /// Remove messages older than this permanently, except pinned ones.
    retention_days: f64, Room, "days; 0 = keep for ever", "0";
    /// The largest message a user may post, with padding.
    message_bytes: u32, Room, "bytes; 0 = only the limit of a request", "100000";
    /// The largest file a user may upload, enforced while it arrives.
    file_bytes: u64, Room, "bytes; 0 = the server's `[files] max_size`", "0";
    /// New users can only read until this server has known them for this time.
    member_age_seconds: f64, Room, "seconds; 0 = off", "0";
    /// Hold the first posts of a user in a room until a moderator approves them.
    approve_first: u32, Room, "a number of posts; 0 = off", "0";
    /// Apply filters to moderators as well. Admins are always exempt.
    filter_moderators: bool, Room, "yes or no", "no";
    /// Raid mode switches itself on when this many new identities post or react in a room within a minute.
    raid_new_users: u32, Room, "identities per minute; 0 = only by command", "0";
    /// Raid mode switches itself on when this many posts arrive in a room within a minute.
    raid_posts: u32, Room, "posts per minute; 0 = only by command", "0";
    /// Duration of a raid mode that switched itself on.
    raid_seconds: f64, Room, "seconds; 0 = until `raid off`", "3600";
    /// Page of a room for browsers: nothing, its name and join link, or its recent messages too.
    web: WebView, Room, "off, info or messages", "messages";
    /// Let browsers search the messages that the page of a room shows. Rooms that not everybody may read have no search.
    search: bool, Room, "yes or no", "yes";
    /// Let members report messages. Reports need the moderators' room (`ackpost server moderation on`).
    reports: bool, Room, "yes or no", "yes";
    /// Report a message by the reaction 🚩. The server does not add this reaction, so nobody sees who reports.
    report_reaction: bool, Room, "yes or no", "no";
    /// Tell the author of a held post by a whisper in the room that moderators rejected it.
    tell_rejected: bool, Room, "yes or no", "no";
    /// Maximum number of messages that one user reports within an hour.
    reports_per_hour: u32, Server, "a number of reports; 0 = nobody reports", "10";
    /// Maximum number of held posts and reports with a separate notice in the moderators' room within a minute. The others are
    /// counted in one notice for each room.
    notices_per_minute: u32, Server, "a number of notices", "20";
    /// Time that this server must have known a user before they may start direct messages.
    dm_age_seconds: f64, Server, "seconds; 0 = off", "0";
    /// Number of posts (without deleted ones) that a user needs before they may start direct messages.
    dm_posts: u32, Server, "a number of posts; 0 = off", "0";
    /// Do not let users who are banned from a room start direct messages.
    dm_block_banned: bool, Server, "yes or no", "no";
    /// Maximum number of direct messages that one user starts within an hour.
    dm_per_hour: u32, Server, "a number of messages; 0 = no limit", "0";
}

/// The largest message where no rule says otherwise: more than Session's apps send, which stop at 10,000 characters
/// and a quote of as many.
const MESSAGE_BYTES: u32 = 100_000;

/// The description of the rule called `name`.
pub fn rule(name: &str) -> Option<&'static RuleDoc> {
    RULES.iter().find(|rule| rule.name == name)
}

/// Checks that `name` exists and may be set in this place.
pub fn check_scope(name: &str, for_room: bool) -> Result<&'static RuleDoc, RuleError> {
    let found = rule(name).ok_or_else(|| RuleError::Unknown(name.to_owned()))?;
    if for_room && found.scope == Scope::Server {
        return Err(RuleError::ServerOnly(found.name));
    }
    Ok(found)
}

/// Posts allowed within a span.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Window {
    /// Number of posts.
    pub posts: u32,
    /// Within how many seconds.
    pub seconds: f64,
    /// True if moderators are exempt (admins always are).
    pub moderators_exempt: bool,
}

/// Limits of posts, edits, reactions and uploads in one room.
#[derive(Debug, Clone, PartialEq)]
pub struct Limits {
    /// Each must hold; all are checked in the transaction that stores the post.
    pub windows: Vec<Window>,
    /// The same for edits.
    pub edits: Vec<Window>,
    /// The same for reactions.
    pub reactions: Vec<Window>,
    /// The most different reactions of one message; `None` = no limit.
    pub reaction_kinds: Option<u32>,
    /// The largest message in bytes with padding; `None` = only the limit of a request.
    pub message_bytes: Option<usize>,
    /// The largest upload in bytes; `None` = the limit of the server.
    pub file_bytes: Option<u64>,
}

impl Rules {
    /// The limits these rules mean; what is not set is as in the reference (5 posts in 16 seconds).
    pub fn limits(&self) -> Limits {
        let slow = self.slow_seconds.filter(|s| *s > 0.0).map(|seconds| Window {
            posts: 1,
            seconds,
            moderators_exempt: true,
        });
        let with_slow = |posts: u32, seconds: f64| {
            let rate = Window {
                posts,
                seconds,
                moderators_exempt: false,
            };
            Some(rate).into_iter().chain(slow)
        };
        // Zero posts is a limit of the reference; zero edits or reactions is none.
        let of_a_minute = |count: u32| -> Vec<Window> {
            with_slow(count, 60.0).filter(|window| window.posts > 0).collect()
        };
        Limits {
            windows: with_slow(self.rate_posts.unwrap_or(5), self.rate_seconds.unwrap_or(16.0)).collect(),
            edits: of_a_minute(self.rate_edits.unwrap_or(20)),
            reactions: of_a_minute(self.rate_reactions.unwrap_or(30)),
            reaction_kinds: self.reaction_kinds.filter(|n| *n > 0),
            message_bytes: Some(self.message_bytes.unwrap_or(MESSAGE_BYTES))
                .filter(|n| *n > 0)
                .and_then(|n| usize::try_from(n).ok()),
            file_bytes: self.file_bytes.filter(|n| *n > 0),
        }
    }

    /// True if the page of the room has a search.
    pub fn has_search(&self) -> bool {
        self.search.unwrap_or(true)
    }

    /// Content of the page of the room.
    pub fn web_view(&self) -> WebView {
        self.web.unwrap_or(WebView::Messages)
    }
}

impl fmt::Display for Rules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for doc in RULES {
            if let Some(value) = self.get(doc.name) {
                writeln!(f, "{} = {value}", doc.name)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_of_the_reference_are_those_that_hold() {
        let mut written = Rules::default();
        for doc in RULES {
            written.set(doc.name, Some(doc.default)).expect(doc.name);
        }
        let unset = Rules::default();
        assert_eq!(written.limits(), unset.limits());
        assert_eq!(written.has_search(), unset.has_search());
        assert_eq!(written.web_view(), unset.web_view());
    }

    #[test]
    fn every_rule_of_the_table_can_be_set_read_and_cleared() {
        for doc in RULES {
            let value = match doc.unit {
                unit if unit.starts_with("yes") => "yes",
                unit if unit.starts_with("off, info") => "info",
                unit if unit.starts_with("off, emoji") => "emoji",
                _ => "7",
            };
            let mut rules = Rules::default();
            rules.set(doc.name, Some(value)).expect(doc.name);
            assert_eq!(rules.get(doc.name).as_deref(), Some(value), "{}", doc.name);
            assert!(rules.set(doc.name, Some("purple")).is_err(), "{}", doc.name);
            rules.set(doc.name, None).expect(doc.name);
            assert_eq!(rules, Rules::default());
            assert!(!doc.text.trim().is_empty() && !doc.default.is_empty());
        }
    }

    #[test]
    fn a_room_rule_wins_over_the_server_rule() {
        let mut server = Rules::default();
        server.set("slow_seconds", Some("30")).expect("set");
        server.set("message_bytes", Some("4000")).expect("set");
        let mut room = Rules::default();
        room.set("slow_seconds", Some("0")).expect("set");
        let both = room.over(&server);
        assert_eq!(both.limits().windows.len(), 1, "slow mode is off in this room");
        assert_eq!(both.limits().message_bytes, Some(4000));
    }

    #[test]
    fn a_server_rule_cannot_be_set_for_a_room() {
        assert_eq!(
            check_scope("dm_posts", true),
            Err(RuleError::ServerOnly("dm_posts"))
        );
        assert!(check_scope("dm_posts", false).is_ok());
        assert!(matches!(
            check_scope("no_such", false),
            Err(RuleError::Unknown(_))
        ));
    }
}

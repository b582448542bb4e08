//! Rules for new people on this server: whether they may post, and whether they may write to strangers.

use super::rules::Rules;

/// Facts about a person that the gates need.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Member {
    /// Time at which this server first saw the person (Unix seconds).
    pub first_seen: f64,
    /// True if the person moderates the room (or the server).
    pub moderator: bool,
    /// True if the person has an explicit permission to write: exempt from minimum ages and approval.
    pub trusted: bool,
    /// Number of the person's posts that are neither deleted nor hidden, counted only as far as a rule needs.
    pub posts: u32,
    /// True if the person is banned from any room.
    pub banned_somewhere: bool,
}

/// Result of a gate for a post.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GateResult {
    /// The gate lets the post pass.
    Open,
    /// Keep the post until a moderator approves it.
    Hold,
    /// The gate rejects the post, with this text for the person.
    Closed(String),
}

/// Checks whether a post of this member passes the gates of the room.
pub fn post(rules: &Rules, member: &Member, now: f64) -> GateResult {
    if member.moderator || member.trusted {
        return GateResult::Open;
    }
    if let Some(wait) = remaining(rules.member_age_seconds, member.first_seen, now) {
        return GateResult::Closed(format!("New members can post here in {}", span(wait)));
    }
    match rules.approve_first {
        Some(first) if member.posts < first => GateResult::Hold,
        _ => GateResult::Open,
    }
}

/// Checks whether this member may start a direct message.
pub fn direct_message(rules: &Rules, member: &Member, now: f64) -> GateResult {
    if member.moderator {
        return GateResult::Open;
    }
    if rules.dm_block_banned == Some(true) && member.banned_somewhere {
        return GateResult::Closed("Direct messages are not available to you".to_owned());
    }
    if !member.trusted
        && let Some(wait) = remaining(rules.dm_age_seconds, member.first_seen, now)
    {
        return GateResult::Closed(format!("New members can write direct messages in {}", span(wait)));
    }
    match rules.dm_posts {
        Some(needed) if member.posts < needed => GateResult::Closed(format!(
            "Direct messages are open to members with at least {needed} {}",
            if needed == 1 { "post" } else { "posts" }
        )),
        _ => GateResult::Open,
    }
}

fn remaining(rule: Option<f64>, first_seen: f64, now: f64) -> Option<f64> {
    rule.map(|needed| needed - (now - first_seen))
        .filter(|wait| *wait > 0.0)
}

/// Formats a span of seconds for people.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "rounded, positive and small"
)]
fn span(seconds: f64) -> String {
    let seconds = seconds.ceil().clamp(1.0, 1e9) as u64;
    let (count, unit) = match seconds {
        0..=119 => (seconds, "second"),
        120..=7_199 => (seconds.div_ceil(60), "minute"),
        7_200..=172_799 => (seconds.div_ceil(3_600), "hour"),
        _ => (seconds.div_ceil(86_400), "day"),
    };
    format!("{count} {unit}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEW: Member = Member {
        first_seen: 1000.0,
        moderator: false,
        trusted: false,
        posts: 0,
        banned_somewhere: false,
    };

    #[test]
    fn age_gate_opens_with_time_and_for_moderators() {
        let rules = Rules {
            member_age_seconds: Some(3600.0),
            ..Rules::default()
        };
        assert_eq!(
            post(&rules, &NEW, 1060.0),
            GateResult::Closed("New members can post here in 59 minutes".into())
        );
        assert_eq!(post(&rules, &NEW, 4600.0), GateResult::Open);
        assert_eq!(
            post(
                &rules,
                &Member {
                    moderator: true,
                    ..NEW
                },
                1060.0
            ),
            GateResult::Open
        );
    }

    #[test]
    fn trusted_people_pass_at_any_age_and_unapproved() {
        let rules = Rules {
            member_age_seconds: Some(3600.0),
            approve_first: Some(2),
            dm_age_seconds: Some(3600.0),
            dm_posts: Some(1),
            ..Rules::default()
        };
        let trusted = Member { trusted: true, ..NEW };
        assert_eq!(post(&rules, &trusted, 1060.0), GateResult::Open);
        assert!(
            matches!(direct_message(&rules, &trusted, 1060.0), GateResult::Closed(text) if text.contains("1 post")),
            "only the age does not matter"
        );
    }

    #[test]
    fn first_posts_are_held() {
        let rules = Rules {
            approve_first: Some(2),
            ..Rules::default()
        };
        assert_eq!(post(&rules, &NEW, 1060.0), GateResult::Hold);
        assert_eq!(
            post(&rules, &Member { posts: 2, ..NEW }, 1060.0),
            GateResult::Open
        );
    }

    #[test]
    fn direct_messages_ask_for_age_posts_and_no_ban() {
        let rules = Rules {
            dm_age_seconds: Some(60.0),
            dm_posts: Some(3),
            dm_block_banned: Some(true),
            ..Rules::default()
        };
        assert!(matches!(
            direct_message(&rules, &NEW, 1001.0),
            GateResult::Closed(_)
        ));
        assert!(
            matches!(direct_message(&rules, &NEW, 2000.0), GateResult::Closed(text) if text.contains("3 posts"))
        );
        let member = Member { posts: 3, ..NEW };
        assert_eq!(direct_message(&rules, &member, 2000.0), GateResult::Open);
        assert!(matches!(
            direct_message(
                &rules,
                &Member {
                    banned_somewhere: true,
                    ..member
                },
                2000.0
            ),
            GateResult::Closed(_)
        ));
    }

    #[test]
    fn spans_read_well() {
        assert_eq!(
            [span(0.2), span(90.0), span(3600.0), span(86400.0), span(9e5)],
            ["1 second", "90 seconds", "60 minutes", "24 hours", "11 days"]
        );
    }
}

//! Schema versions, forward only. Every migration is one text for both databases.

/// One step forward.
pub(crate) struct Migration {
    /// Position, from 1.
    pub version: i64,
    /// For the log.
    pub name: &'static str,
    /// Statements with `{id}` and `{blob}` in place of types that differ.
    pub text: &'static str,
}

/// All steps in order.
pub(crate) const MIGRATIONS: &[Migration] = &[
    Migration {
        version: 1,
        name: "community",
        text: include_str!("../../migrations/0001_community.sql"),
    },
    Migration {
        version: 2,
        name: "operation",
        text: include_str!("../../migrations/0002_operation.sql"),
    },
    Migration {
        version: 3,
        name: "key",
        text: include_str!("../../migrations/0003_key.sql"),
    },
    Migration {
        version: 4,
        name: "accounts",
        text: include_str!("../../migrations/0004_accounts.sql"),
    },
    Migration {
        version: 5,
        name: "moderation",
        text: include_str!("../../migrations/0005_moderation.sql"),
    },
];

/// The version this program works with.
pub(crate) fn known_version() -> i64 {
    MIGRATIONS.last().map_or(0, |last| last.version)
}

impl Migration {
    /// The text for one database.
    pub(crate) fn sql(&self, id: &str, blob: &str) -> String {
        self.text.replace("{id}", id).replace("{blob}", blob)
    }
}

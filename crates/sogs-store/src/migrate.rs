//! Schema versions, forward only. Every migration is one text for both databases; parts of it may be for one alone.

/// One migration to the next version of the database.
pub(crate) struct Migration {
    /// Version of the database after it, from 1.
    pub version: i64,
    /// Name of the migration, for the log.
    pub name: &'static str,
    /// Statements with `{id}` and `{blob}` in place of types that differ. What follows a line `-- for sqlite:` or
    /// `-- for postgresql:` is for that database alone, until `-- for both:`.
    pub text: &'static str,
}

/// All steps in order.
pub(crate) const MIGRATIONS: &[Migration] = &[
    Migration {
        version: 1,
        name: "community",
        text: include_str!("../migrations/0001_community.sql"),
    },
    Migration {
        version: 2,
        name: "operation",
        text: include_str!("../migrations/0002_operation.sql"),
    },
    Migration {
        version: 3,
        name: "key",
        text: include_str!("../migrations/0003_key.sql"),
    },
    Migration {
        version: 4,
        name: "accounts",
        text: include_str!("../migrations/0004_accounts.sql"),
    },
    Migration {
        version: 5,
        name: "moderation",
        text: include_str!("../migrations/0005_moderation.sql"),
    },
    Migration {
        version: 6,
        name: "pages",
        text: include_str!("../migrations/0006_pages.sql"),
    },
    Migration {
        version: 7,
        name: "imported files",
        text: include_str!("../migrations/0007_imported_files.sql"),
    },
    Migration {
        version: 8,
        name: "indexes",
        text: include_str!("../migrations/0008_indexes.sql"),
    },
];

/// The version this program works with.
pub(crate) fn known_version() -> i64 {
    MIGRATIONS.last().map_or(0, |last| last.version)
}

impl Migration {
    /// Returns the text for the database called `kind`.
    pub(crate) fn sql(&self, kind: &str, id: &str, blob: &str) -> String {
        let mut text = String::with_capacity(self.text.len());
        let mut is_meant = true;
        for line in self.text.lines() {
            match line
                .strip_prefix("-- for ")
                .and_then(|rest| rest.strip_suffix(':'))
            {
                Some(meant) => is_meant = meant == kind || meant == "both",
                None if is_meant => {
                    text.push_str(line);
                    text.push('\n');
                }
                None => {}
            }
        }
        text.replace("{id}", id).replace("{blob}", blob)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_for_the_other_database_are_left_out() {
        let step = Migration {
            version: 1,
            name: "test",
            text: "a {id}\n-- for sqlite:\nb\n-- for postgresql:\nc\n-- for both:\nd {blob}\n",
        };
        assert_eq!(step.sql("sqlite", "I", "B"), "a I\nb\nd B\n");
        assert_eq!(step.sql("postgresql", "I", "B"), "a I\nc\nd B\n");
        let versions: Vec<i64> = MIGRATIONS.iter().map(|step| step.version).collect();
        let consecutive: Vec<i64> = (1..=known_version()).collect();
        assert_eq!(versions, consecutive);
    }
}

//! Finding people by what is shown of them: display names, short ids, the numbers of their messages.

use super::{SqlStore, id_lists};
use crate::operation::{PeopleQuery, PersonRow};
use crate::{Id, StoreResult};

/// Posts of one person that are searched for a display name when the latest has none.
const RECENT: usize = 16;

impl SqlStore {
    pub(crate) async fn latest_posts(&self, users: Vec<Id>) -> StoreResult<Vec<(Id, Vec<u8>)>> {
        let mut all: Vec<(Id, Vec<u8>)> = Vec::new();
        for (list, marks) in id_lists(&users, 1) {
            // One look into the index for each room: a person may have very many posts.
            let text = format!(
                "SELECT u.id, (SELECT m.id FROM messages m WHERE m.user_id = u.id AND m.room_id = r.id \
                 AND m.data IS NOT NULL ORDER BY m.posted DESC LIMIT 1) AS latest \
                 FROM users u CROSS JOIN rooms r WHERE u.id IN ({marks})"
            );
            let mut query = sqlx::query_as(sqlx::AssertSqlSafe(text));
            for id in &list {
                query = query.bind(*id);
            }
            let found: Vec<(Id, Option<Id>)> = query.fetch_all(&self.readers).await?;
            let mut latest: std::collections::BTreeMap<Id, Id> = std::collections::BTreeMap::new();
            for (user_id, message) in found {
                if let Some(message) = message {
                    let known = latest.entry(user_id).or_insert(message);
                    *known = message.max(*known);
                }
            }
            let numbers: Vec<Id> = latest.values().copied().collect();
            for (numbers, marks) in id_lists(&numbers, 1) {
                let text =
                    format!("SELECT user_id, data FROM messages WHERE data IS NOT NULL AND id IN ({marks})");
                let mut query = sqlx::query_as(sqlx::AssertSqlSafe(text));
                for id in numbers {
                    query = query.bind(id);
                }
                let part: Vec<(Id, Vec<u8>)> = query.fetch_all(&self.readers).await?;
                all.extend(part);
            }
            let silent: Vec<Id> = list.into_iter().filter(|id| !latest.contains_key(id)).collect();
            all.extend(self.former_posts(silent).await?);
        }
        Ok(all)
    }

    pub(crate) async fn earlier_posts(&self, users: Vec<Id>) -> StoreResult<Vec<(Id, Vec<u8>)>> {
        let mut all = Vec::new();
        for (list, marks) in id_lists(&users, 1) {
            let numbers = self.recent_numbers(&list, &marks).await?;
            for (numbers, marks) in id_lists(&numbers, 1) {
                let text = format!(
                    "SELECT id, user_id, data FROM messages WHERE data IS NOT NULL AND id IN ({marks})"
                );
                let mut query = sqlx::query_as(sqlx::AssertSqlSafe(text));
                for id in numbers {
                    query = query.bind(id);
                }
                let part: Vec<(Id, Id, Vec<u8>)> = query.fetch_all(&self.readers).await?;
                all.extend(part);
            }
        }
        all.sort_unstable_by_key(|(id, ..)| std::cmp::Reverse(*id));
        let mut all: Vec<(Id, Vec<u8>)> = all.into_iter().map(|(_, user, data)| (user, data)).collect();
        all.extend(self.history_of(users).await?);
        Ok(all)
    }

    /// The numbers of the newest posts of these people, at most `RECENT` of each.
    async fn recent_numbers(&self, list: &[Id], marks: &str) -> StoreResult<Vec<Id>> {
        let mut recent: std::collections::BTreeMap<Id, Vec<Id>> = std::collections::BTreeMap::new();
        for back in 0..RECENT {
            let text = format!(
                "SELECT u.id, (SELECT m.id FROM messages m WHERE m.user_id = u.id AND m.room_id = r.id \
                 AND m.data IS NOT NULL ORDER BY m.posted DESC LIMIT 1 OFFSET {back}) AS post \
                 FROM users u CROSS JOIN rooms r WHERE u.id IN ({marks})"
            );
            let mut query = sqlx::query_as(sqlx::AssertSqlSafe(text));
            for id in list {
                query = query.bind(*id);
            }
            let found: Vec<(Id, Option<Id>)> = query.fetch_all(&self.readers).await?;
            let found: Vec<(Id, Id)> = found
                .into_iter()
                .filter_map(|(user, post)| Some((user, post?)))
                .collect();
            if found.is_empty() {
                break;
            }
            for (user, post) in found {
                recent.entry(user).or_default().push(post);
            }
        }
        let newest = recent.into_values().flat_map(|mut posts| {
            posts.sort_unstable_by_key(|post| std::cmp::Reverse(*post));
            posts.truncate(RECENT);
            posts
        });
        Ok(newest.collect())
    }

    /// The same for people none of whose posts stands any more, from the history.
    async fn former_posts(&self, users: Vec<Id>) -> StoreResult<Vec<(Id, Vec<u8>)>> {
        let mut seen = std::collections::BTreeSet::new();
        let all = self.history_of(users).await?;
        Ok(all
            .into_iter()
            .filter(|(user_id, _)| seen.insert(*user_id))
            .collect())
    }

    /// Contents of posts of these people that were edited or deleted, the latest change first.
    async fn history_of(&self, users: Vec<Id>) -> StoreResult<Vec<(Id, Vec<u8>)>> {
        let mut all = Vec::new();
        for (list, marks) in id_lists(&users, 1) {
            let text = format!(
                "SELECT m.user_id, h.data FROM messages m JOIN message_history h ON h.message_id = m.id \
                 WHERE m.user_id IN ({marks}) ORDER BY h.replaced DESC, m.id DESC LIMIT 5000"
            );
            let mut query = sqlx::query_as(sqlx::AssertSqlSafe(text));
            for id in list {
                query = query.bind(id);
            }
            let part: Vec<(Id, Vec<u8>)> = query.fetch_all(&self.readers).await?;
            all.extend(part);
        }
        Ok(all)
    }

    pub(crate) async fn ids_of(&self, session_ids: Vec<String>) -> StoreResult<Vec<(Id, String)>> {
        let mut all = Vec::new();
        for list in session_ids.chunks(256) {
            let marks: Vec<String> = (1..=list.len()).map(|n| format!("${n}")).collect();
            let text = format!(
                "SELECT id, session_id FROM users WHERE session_id IN ({})",
                marks.join(", ")
            );
            let mut query = sqlx::query_as(sqlx::AssertSqlSafe(text));
            for id in list {
                query = query.bind(id);
            }
            let part: Vec<(Id, String)> = query.fetch_all(&self.readers).await?;
            all.extend(part);
        }
        Ok(all)
    }

    pub(crate) async fn users_like(
        &self,
        head: String,
        tail: String,
        limit: i64,
    ) -> StoreResult<Vec<(Id, String)>> {
        Ok(sqlx::query_as(
            "SELECT u.id, u.session_id FROM users u WHERE u.session_id LIKE $1 AND u.session_id LIKE $2 \
             UNION SELECT u.id, u.session_id FROM account_ids a JOIN users u ON u.id = a.user_id \
             WHERE a.key LIKE $1 AND a.key LIKE $3 ORDER BY 2 LIMIT $4",
        )
        .bind(format!("{head}%"))
        .bind(format!("%{tail}"))
        .bind(format!("%{}", without_sign(&tail)))
        .bind(limit)
        .fetch_all(&self.readers)
        .await?)
    }

    pub(crate) async fn author_of(&self, message_id: Id) -> StoreResult<Option<Id>> {
        Ok(sqlx::query_scalar("SELECT user_id FROM messages WHERE id = $1")
            .bind(message_id)
            .fetch_optional(&self.readers)
            .await?)
    }

    pub(crate) async fn people(&self, query: PeopleQuery) -> StoreResult<Vec<PersonRow>> {
        const COLUMNS: &str =
            "u.id, u.session_id, u.created, {active} AS active, u.banned, u.moderator, u.admin";
        let (from, wanted, active) = match query.room_id {
            Some(_) => (
                "(SELECT user_id, MAX(at) AS at FROM (SELECT user_id, last_active AS at FROM room_users WHERE room_id = $1 \
                 UNION ALL SELECT user_id, MAX(posted) AS at FROM messages WHERE room_id = $1 GROUP BY user_id) s \
                 GROUP BY user_id) a JOIN users u ON u.id = a.user_id",
                "$1 > 0",
                "a.at",
            ),
            None => ("users u", "$1 = 0", "u.last_active"),
        };
        let columns = COLUMNS.replace("{active}", active);
        let text = format!(
            "SELECT {columns} FROM {from} WHERE {wanted} AND u.created >= $2 AND u.created < $3 \
             AND u.session_id NOT LIKE 'ff%' ORDER BY {active} DESC, u.id DESC LIMIT $4 OFFSET $5"
        );
        let rows: Vec<(Id, String, f64, f64, bool, bool, bool)> = sqlx::query_as(sqlx::AssertSqlSafe(text))
            .bind(query.room_id.unwrap_or(0))
            .bind(query.since)
            .bind(query.until)
            .bind(query.limit)
            .bind(query.skip)
            .fetch_all(&self.readers)
            .await?;
        Ok(rows
            .into_iter()
            .map(
                |(id, session_id, created, last_active, banned, moderator, admin)| PersonRow {
                    id,
                    session_id,
                    created,
                    last_active,
                    banned,
                    moderator,
                    admin,
                },
            )
            .collect())
    }
}

/// The last digits of an id as they end its key, which has no sign bit.
fn without_sign(tail: &str) -> String {
    let mut digits: Vec<char> = tail.chars().collect();
    if let Some(at) = digits.len().checked_sub(2)
        && let Some(digit) = digits[at].to_digit(16)
        && let Some(digit) = char::from_digit(digit & 7, 16)
    {
        digits[at] = digit;
    }
    digits.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_key_has_no_sign() {
        for (tail, key) in [
            ("61f8", "6178"),
            ("6178", "6178"),
            ("f8", "78"),
            ("8", "8"),
            ("", ""),
        ] {
            assert_eq!(without_sign(tail), key);
        }
    }
}

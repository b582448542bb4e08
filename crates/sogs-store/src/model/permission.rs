//! Rights of people in a room: the room's defaults, a person's overrides, and the ranks above both.

/// Rights of everybody in a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "independent rights")]
pub struct Defaults {
    /// Permission to fetch messages.
    pub read: bool,
    /// Permission to see that the room exists when `read` is off.
    pub accessible: bool,
    /// Permission to post.
    pub write: bool,
    /// Permission to upload files.
    pub upload: bool,
}

/// Ban and ranks of a person on the whole server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct UserFlags {
    /// True if the person is banned from the whole server.
    pub banned: bool,
    /// True if the person moderates every room.
    pub moderator: bool,
    /// True if the person administers every room.
    pub admin: bool,
}

/// Exceptions for one person in one room; `None` is the default of the room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Override {
    /// True if the person is banned from the room.
    pub banned: bool,
    /// Permission to fetch messages.
    pub read: Option<bool>,
    /// Permission to see that the room exists.
    pub accessible: Option<bool>,
    /// Permission to post.
    pub write: Option<bool>,
    /// Permission to upload files.
    pub upload: Option<bool>,
    /// True if the person moderates the room.
    pub moderator: bool,
    /// True if the person administers the room.
    pub admin: bool,
}

/// Rights of a person in one room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(clippy::struct_excessive_bools, reason = "independent rights")]
pub struct Rights {
    /// True if the person is banned from the room or the server.
    pub banned: bool,
    /// Permission to fetch messages.
    pub read: bool,
    /// Permission to see the room without reading it.
    pub accessible: bool,
    /// Permission to post.
    pub write: bool,
    /// Permission to upload files, which needs `write` too.
    pub upload: bool,
    /// Explicit permission to post: the person is exempt from raid mode, minimum age and `approve_first`.
    pub trusted: bool,
    /// True if the person moderates the room, appointed here or for the whole server.
    pub moderator: bool,
    /// True if the person administers the room, appointed here or for the whole server.
    pub admin: bool,
    /// True if the person moderates the whole server.
    pub global_moderator: bool,
    /// True if the person administers the whole server.
    pub global_admin: bool,
}

impl Rights {
    /// Returns true if the person can see that the room exists.
    pub fn visible(&self) -> bool {
        self.read || self.accessible
    }

    /// The rights in the moderators' room: moderators of this room or of the server have theirs, moderators of other
    /// rooms read and write, and it does not exist for anybody else, whatever defaults and permissions say.
    pub fn in_moderators_room(self, moderates_some_room: bool) -> Self {
        if self.banned || self.moderator {
            return self;
        }
        Self {
            read: moderates_some_room,
            accessible: moderates_some_room,
            write: moderates_some_room,
            trusted: moderates_some_room,
            ..Self::default()
        }
    }
}

/// Returns the rights of a person in a room; `None` is a person without authentication.
///
/// A ban beats everything, moderators may do everything, then the person's override counts, then the default.
pub fn rights(defaults: Defaults, user: Option<UserFlags>, own: Option<Override>) -> Rights {
    let Some(user) = user else {
        return Rights {
            read: defaults.read,
            accessible: defaults.accessible,
            write: defaults.write,
            upload: defaults.upload && defaults.write,
            ..Rights::default()
        };
    };
    if user.banned || own.is_some_and(|own| own.banned) {
        return Rights {
            banned: true,
            ..Rights::default()
        };
    }
    let admin = user.admin || own.is_some_and(|own| own.admin);
    let moderator = admin || user.moderator || own.is_some_and(|own| own.moderator);
    let pick = |value: Option<bool>, default: bool| moderator || value.unwrap_or(default);
    let write = pick(own.and_then(|own| own.write), defaults.write);
    Rights {
        banned: false,
        read: pick(own.and_then(|own| own.read), defaults.read),
        accessible: pick(own.and_then(|own| own.accessible), defaults.accessible),
        write,
        upload: write && pick(own.and_then(|own| own.upload), defaults.upload),
        trusted: own.is_some_and(|own| own.write == Some(true)),
        moderator,
        admin,
        global_moderator: user.moderator || user.admin,
        global_admin: user.admin,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPEN: Defaults = Defaults {
        read: true,
        accessible: true,
        write: true,
        upload: true,
    };
    const CLOSED: Defaults = Defaults {
        read: false,
        accessible: false,
        write: false,
        upload: true,
    };

    #[test]
    fn nobody_but_moderators_is_let_into_the_moderators_room() {
        let open = rights(OPEN, None, None);
        assert!(!open.in_moderators_room(false).visible() && !open.in_moderators_room(false).write);
        let member = rights(OPEN, Some(UserFlags::default()), None);
        let of_another_room = member.in_moderators_room(true);
        assert!(of_another_room.read && of_another_room.write && !of_another_room.moderator);
        assert!(!of_another_room.upload);
        let standing = UserFlags {
            banned: true,
            ..UserFlags::default()
        };
        let banned = rights(OPEN, Some(standing), None);
        assert!(!banned.in_moderators_room(true).visible());
    }

    #[test]
    fn somebody_unknown_has_the_defaults_and_uploads_only_with_write() {
        let rights = rights(CLOSED, None, None);
        assert!(!rights.visible() && !rights.write && !rights.upload);
    }

    #[test]
    fn a_ban_beats_everything() {
        let banned = rights(
            OPEN,
            Some(UserFlags::default()),
            Some(Override {
                banned: true,
                ..Override::default()
            }),
        );
        assert!(banned.banned && !banned.read && !banned.accessible && !banned.write);
        assert!(
            rights(
                OPEN,
                Some(UserFlags {
                    banned: true,
                    ..UserFlags::default()
                }),
                None
            )
            .banned
        );
    }

    #[test]
    fn moderators_may_everything_and_admins_are_moderators() {
        let room_mod = rights(
            CLOSED,
            Some(UserFlags::default()),
            Some(Override {
                moderator: true,
                write: Some(false),
                ..Override::default()
            }),
        );
        assert!(room_mod.read && room_mod.write && room_mod.upload && room_mod.moderator && !room_mod.admin);
        let admin = rights(
            CLOSED,
            Some(UserFlags {
                admin: true,
                ..UserFlags::default()
            }),
            None,
        );
        assert!(
            admin.admin && admin.moderator && admin.global_admin && admin.global_moderator && admin.upload
        );
    }

    #[test]
    fn an_override_wins_over_the_default() {
        let writer = rights(
            CLOSED,
            Some(UserFlags::default()),
            Some(Override {
                write: Some(true),
                ..Override::default()
            }),
        );
        assert!(writer.write && writer.upload && !writer.read && writer.trusted);
        let muted = rights(
            OPEN,
            Some(UserFlags::default()),
            Some(Override {
                write: Some(false),
                ..Override::default()
            }),
        );
        assert!(muted.read && !muted.write && !muted.upload && !muted.trusted);
    }
}

//! The words of sendmail: `-oi -t`, `-FCronDaemon -i -B8BITMIME -oem root`.

use std::path::PathBuf;

/// Options and recipients from the command line.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Flags {
    /// Read the recipients from the headers (`-t`).
    pub(super) from_headers: bool,
    /// A line with one dot does not end the mail (`-i`, `-oi`).
    pub(super) dots: bool,
    /// Only store the mail (`-odq`, `-odd`).
    pub(super) later: bool,
    /// Outbox and the file of its key (`-O outbox=`, `-O outbox_key=`).
    pub(super) outbox: Option<String>,
    pub(super) outbox_key: Option<PathBuf>,
    /// Configuration files (`-C`).
    pub(super) configs: Vec<String>,
    /// Addresses behind the options.
    pub(super) recipients: Vec<String>,
    pub(super) task: Task,
}

/// Task of the call.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) enum Task {
    /// Take a mail.
    #[default]
    Send,
    /// Show the queue (`-bp`, `mailq`).
    ListQueue,
    /// There are no aliases to make a database of (`-bi`, `newaliases`).
    Nothing,
}

/// Options whose value follows them, in the same word or in the next one.
const WITH_VALUE: &str = "BCFfhLNOopRrVX";

impl Flags {
    /// Reads the words.
    pub(super) fn read(words: &[String]) -> Result<Self, String> {
        let mut flags = Self::default();
        let mut words = words.iter();
        while let Some(word) = words.next() {
            if word == "--" {
                flags.recipients.extend(words.cloned());
                break;
            }
            let Some(option) = word.strip_prefix('-').filter(|option| !option.is_empty()) else {
                flags.recipients.push(word.clone());
                continue;
            };
            let (letter, rest) = option.split_at(option.chars().next().map_or(0, char::len_utf8));
            if WITH_VALUE.contains(letter) {
                let value = if rest.is_empty() {
                    words
                        .next()
                        .ok_or_else(|| format!("-{letter} needs a value"))?
                        .as_str()
                } else {
                    rest
                };
                match letter {
                    "C" => flags.configs.push(value.to_owned()),
                    // `-oi` is `-i`; other long options tune a mail server.
                    "o" if value == "i" => flags.dots = true,
                    "o" if value == "dq" || value == "dd" => flags.later = true,
                    "O" => flags.option(value),
                    _ => {}
                }
                continue;
            }
            match (letter, rest) {
                ("b", "m") => {}
                ("b", "p") => flags.task = Task::ListQueue,
                ("b", "i") => flags.task = Task::Nothing,
                ("b", mode) => return Err(format!("-b{mode} is not supported")),
                ("q", _) => return Err("-q is not supported; use `ackpost outbox flush`".to_owned()),
                _ => flags.letters(option)?,
            }
        }
        Ok(flags)
    }

    /// `-O NAME=VALUE`: only two names are ours, the others tune a mail server.
    fn option(&mut self, text: &str) {
        let (name, value) = text.split_once('=').unwrap_or((text, ""));
        match name.trim().to_ascii_lowercase().as_str() {
            "outbox" => self.outbox = Some(value.to_owned()),
            "outbox_key" => self.outbox_key = Some(PathBuf::from(value)),
            _ => {}
        }
    }

    /// Letters that may stand together, such as `-it`.
    fn letters(&mut self, option: &str) -> Result<(), String> {
        for letter in option.chars() {
            match letter {
                't' => self.from_headers = true,
                'i' => self.dots = true,
                // Verbose, gateway submission, initial submission, ignored aliases: nothing to do here.
                'v' | 'G' | 'U' | 'n' | 'm' | 'e' => {}
                _ => return Err(format!("unknown option `-{option}`")),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Flags, String> {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        Flags::read(&words)
    }

    #[test]
    fn the_words_of_known_programs_are_read() {
        let cron = read("-FCronDaemon -i -B8BITMIME -oem root").expect("legal");
        assert!(cron.dots && !cron.from_headers);
        assert_eq!(cron.recipients, ["root"]);
        let upgrades = read("-oi -t").expect("legal");
        assert!(upgrades.dots && upgrades.from_headers && upgrades.recipients.is_empty());
        let php = read("-t -i -f www@example.org").expect("legal");
        assert!(php.from_headers && php.dots && php.recipients.is_empty());
        let other = read("-C /etc/a.conf -it -r x -- -odd@x").expect("legal");
        assert_eq!(
            (other.configs.as_slice(), other.recipients.as_slice()),
            (&["/etc/a.conf".to_owned()][..], &["-odd@x".to_owned()][..])
        );
        assert_eq!(read("-bp").expect("legal").task, Task::ListQueue);
        assert_eq!(read("-bi").expect("legal").task, Task::Nothing);
        let gateway =
            read("-odq -O Outbox=/var/lib/o.db -Ooutbox_key=/etc/o.key -O Timeout=5m root").expect("legal");
        assert!(gateway.later && gateway.recipients == ["root"]);
        assert_eq!(gateway.outbox.as_deref(), Some("/var/lib/o.db"));
        assert_eq!(gateway.outbox_key, Some(PathBuf::from("/etc/o.key")));
        for bad in ["-bs", "-q", "-z", "-f"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}

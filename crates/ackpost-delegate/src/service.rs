//! The service behind every URL that Apprise delivers.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use ackpost_notify::service::{Finding, Param, ParamReader, Service, ServiceKind, Target, Values};
use ackpost_notify::url::{RawUrl, percent};
use ackpost_notify::{
    Attempt, BoxFuture, Chunk, CommonParams, ConnectionPool, Delivery, Diagnostic, Encoded, ForeignKind,
    ForeignUrl, Format, Limits, MessageId, Outcome, ParamValue, Shown,
};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::answer::attempt;
use crate::schemas::{FILE_PARAMS, HOSTS, LOCAL, SCHEMAS};
use crate::worker::{
    Installed, LONGEST, RequestFile, WorkerError, WorkerPool, WorkerRequest, WorkerResponse,
};

/// Definition of the services that an installed Apprise delivers.
pub static APPRISE: ForeignKind = ForeignKind::new(&DELEGATED, SCHEMAS, load)
    .with_hosts(HOSTS)
    .with_local(LOCAL)
    .with_file_params(FILE_PARAMS);

/// Their common part. It has no schema of its own.
pub static DELEGATED: ServiceKind = ServiceKind::new("apprise", "Other services, through Apprise", no_url)
    .with_parameters(&[
        Param::new(
            "repeat",
            Values::YesNo,
            "no",
            "Send a message again although an earlier attempt may have arrived.",
            "repeat=yes",
        ),
        Param::new(
            "via",
            Values::Words(&["apprise"]),
            "",
            "Hand a URL to Apprise although Ackpost has the service, or although the schema is not known.",
            "via=apprise",
        ),
    ])
    .with_source()
    .with_setup_url("https://appriseit.com/services/");

fn no_url(_: &RawUrl, _: &mut ParamReader<'_>) -> Result<Box<dyn Service>, Diagnostic> {
    Err(Diagnostic::error(
        "the definition of other services has no URLs of its own",
        "report this",
    ))
}

#[expect(clippy::unnecessary_wraps, reason = "the signature of `LoadForeign`")]
fn load(url: ForeignUrl, reader: &mut ParamReader<'_>) -> Result<Box<dyn Service>, Diagnostic> {
    Ok(Box::new(Delegated {
        repeat: reader.yes_no("repeat", false),
        via: reader
            .text("via")
            .is_some_and(|way| way.eq_ignore_ascii_case("apprise")),
        url,
    }))
}

/// One URL of another service.
struct Delegated {
    url: ForeignUrl,
    repeat: bool,
    via: bool,
}

impl fmt::Debug for Delegated {
    /// Shows no secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Delegated").field(&self.url).finish()
    }
}

/// A message as it is stored and handed over.
#[derive(Debug, Default, Deserialize, Serialize)]
struct Piece {
    title: String,
    body: String,
    kind: String,
    format: Option<String>,
    /// Number of gateways that the message went through.
    #[serde(default)]
    hops: u32,
}

impl Delegated {
    async fn send(&self, common: &CommonParams, pool: &ConnectionPool, delivery: &Delivery) -> Vec<Attempt> {
        let mut attempts = Vec::with_capacity(delivery.pieces.len());
        for (number, piece) in delivery.pieces.iter().enumerate() {
            let attempt = if delivery.is_repeat(number) && !self.repeat {
                Attempt::new(Outcome::refused(
                    "an earlier attempt may have arrived, and Apprise cannot look whether it did",
                    "look for the message before you send it again, or write repeat=yes to have it sent twice in such \
                     a case",
                ))
            } else {
                self.send_one(common, pool, piece, delivery, number == 0).await
            };
            attempts.push(attempt);
        }
        attempts
    }

    async fn send_one(
        &self,
        common: &CommonParams,
        pool: &ConnectionPool,
        piece: &Encoded,
        delivery: &Delivery,
        with_files: bool,
    ) -> Attempt {
        let piece: Piece = match piece.to_value(DELEGATED.name) {
            Ok(piece) => piece,
            Err(problem) => return Attempt::new(Outcome::refused(problem.cause, problem.remedy)),
        };
        let files: &[ackpost_notify::File] = if with_files { &delivery.files } else { &[] };
        let url = self.handed_url(common);
        let workers = pool.of_service(|_| WorkerPool::default());
        let request = self.request(&url, pool, &piece);
        // The text is not lost with its files.
        let missing = match Files::write(files).await {
            Ok(folder) => {
                let request = WorkerRequest {
                    files: folder.request(files),
                    ..request.clone()
                };
                let answered = workers.answer(&request).await;
                if files.is_empty() || !too_large(&answered) {
                    return attempt(&self.url, answered);
                }
                "too large for the service".to_owned()
            }
            Err(error) => format!("cannot be stored for Apprise: {error}"),
        };
        let mut attempt = attempt(&self.url, workers.answer(&request).await);
        let names: Vec<String> = files.iter().map(|file| format!("`{}`", file.name)).collect();
        attempt.outcome = attempt
            .outcome
            .without_files(&[format!("{}: {missing}", names.join(", "))]);
        attempt
    }

    /// The URL as Apprise reads it. The time zone is a parameter of both programs.
    fn handed_url(&self, common: &CommonParams) -> Zeroizing<String> {
        let mut url = Zeroizing::new(self.url.expose_url().to_owned());
        if let Some(tz) = &common.tz {
            let glue = if url.contains('?') { '&' } else { '?' };
            url.push(glue);
            url.push_str("tz=");
            url.push_str(&percent::encode(tz));
        }
        url
    }

    fn request<'a>(&'a self, url: &'a str, pool: &'a ConnectionPool, piece: &'a Piece) -> WorkerRequest<'a> {
        WorkerRequest {
            url,
            keys: self.url.expose_keys().collect(),
            title: &piece.title,
            body: &piece.body,
            kind: if piece.kind.is_empty() {
                "info"
            } else {
                &piece.kind
            },
            format: piece.format.as_deref(),
            // Apprise adds one when it calls a gateway.
            recursion: piece.hops.saturating_sub(1),
            files: Vec::new(),
            app_id: &pool.asset().app_id,
            probe: false,
            seconds: LONGEST.as_secs() + 5,
        }
    }
}

/// Returns true if the service refused the size of the message, and nobody has it.
fn too_large(answered: &Result<(WorkerResponse, Installed), WorkerError>) -> bool {
    let Ok((answer, _)) = answered else {
        return false;
    };
    !answer.ok && !answer.open && !answer.codes.is_empty() && answer.codes.iter().all(|code| *code == 413)
}

/// The files of a message in a folder that only this user may enter. It is removed when this is dropped.
struct Files(Option<PathBuf>);

impl Files {
    async fn write(files: &[ackpost_notify::File]) -> std::io::Result<Self> {
        if files.is_empty() {
            return Ok(Self(None));
        }
        SWEPT.get_or_init(|| sweep(&std::env::temp_dir()));
        let mut random = [0_u8; 12];
        getrandom::fill(&mut random).map_err(|error| std::io::Error::other(error.to_string()))?;
        let folder = std::env::temp_dir().join(format!("{FOLDER}{}", hex::encode(random)));
        let mut builder = tokio::fs::DirBuilder::new();
        #[cfg(unix)]
        builder.mode(0o700);
        builder.create(&folder).await?;
        let kept = Self(Some(folder.clone()));
        for (number, file) in files.iter().enumerate() {
            tokio::fs::write(folder.join(number.to_string()), &file.bytes).await?;
        }
        Ok(kept)
    }

    fn request<'a>(&self, files: &'a [ackpost_notify::File]) -> Vec<RequestFile<'a>> {
        let Some(folder) = &self.0 else {
            return Vec::new();
        };
        let file = |(number, file): (usize, &'a ackpost_notify::File)| RequestFile {
            path: folder.join(number.to_string()).to_string_lossy().into_owned(),
            name: &file.name,
            media_type: &file.media_type,
        };
        files.iter().enumerate().map(file).collect()
    }
}

/// First part of the names of folders for files.
const FOLDER: &str = "ackpost-files-";
/// A folder that is older was left by a process that was killed.
const LEFT_AFTER: Duration = Duration::from_hours(24);
static SWEPT: OnceLock<()> = OnceLock::new();

/// Removes the folders that killed processes left.
fn sweep(temporary: &Path) {
    let Ok(entries) = std::fs::read_dir(temporary) else {
        return;
    };
    for entry in entries.flatten() {
        let is_ours = entry.file_name().to_string_lossy().starts_with(FOLDER)
            && entry.file_type().is_ok_and(|kind| kind.is_dir());
        let age = entry
            .metadata()
            .and_then(|about| about.modified())
            .map(|at| at.elapsed().unwrap_or_default());
        if is_ours && age.is_ok_and(|age| age > LEFT_AFTER) {
            // The folder of another user stays.
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        if let Some(folder) = &self.0 {
            let _ = std::fs::remove_dir_all(folder);
        }
    }
}

impl Service for Delegated {
    fn kind(&self) -> &'static ServiceKind {
        &DELEGATED
    }

    fn url_base(&self, secrets: bool, _only: Option<&Target>) -> String {
        if secrets {
            self.url.expose_base()
        } else {
            self.url.masked()
        }
    }

    fn value(&self, name: &str, _secrets: bool) -> ParamValue {
        match name {
            "repeat" => ParamValue::Bool(self.repeat),
            "via" if self.via => ParamValue::Text("apprise".to_owned()),
            _ => ParamValue::None,
        }
    }

    fn id_text(&self) -> String {
        format!("apprise {}", self.url.expose_base())
    }

    fn host(&self) -> &'static str {
        ""
    }

    fn port(&self) -> Option<u16> {
        None
    }

    /// Returns false: only Apprise knows whether the connection is encrypted.
    fn secure(&self) -> bool {
        false
    }

    /// One target stands for all recipients of the URL: Apprise says whether it reached all of them, and no more.
    fn targets(&self) -> Vec<Target> {
        vec![Target {
            address: self.url.schema().to_owned(),
            room: false,
        }]
    }

    fn target_label(&self, _target: &Target) -> String {
        self.url.masked()
    }

    fn limits(&self) -> Limits {
        Limits::code_points(usize::MAX)
    }

    fn encode(&self, _common: &CommonParams, _target: &Target, chunk: &Chunk, _id: &MessageId) -> Encoded {
        let piece = Piece {
            title: chunk.title.clone(),
            body: chunk.body.to_string(),
            kind: chunk.kind.as_str().to_owned(),
            format: chunk.declared.map(|format: Format| format.as_str().to_owned()),
            hops: chunk.hops,
        };
        Encoded::from_value(DELEGATED.name, &piece)
    }

    fn shown(&self, piece: &Encoded) -> Shown {
        let piece: Piece = piece.to_value(DELEGATED.name).unwrap_or_default();
        let mut shown = Shown::default();
        shown.subject = Some(piece.title).filter(|title| !title.is_empty());
        shown.body = piece.body;
        shown
    }

    fn check<'a>(
        &'a self,
        common: &'a CommonParams,
        pool: &'a ConnectionPool,
    ) -> BoxFuture<'a, Vec<Finding>> {
        Box::pin(async move {
            let piece = Piece::default();
            let url = self.handed_url(common);
            let request = WorkerRequest {
                probe: true,
                ..self.request(&url, pool, &piece)
            };
            let workers = pool.of_service(|_| WorkerPool::default());
            match workers.answer(&request).await {
                Ok((answer, installed)) if answer.loaded => vec![
                    Finding::new(
                        "apprise",
                        Ok(format!(
                            "Apprise {} ({})",
                            installed.version,
                            installed.python.display()
                        )),
                    ),
                    Finding::new("url", Ok(format!("Apprise loads it as {}", answer.service))),
                ],
                Err(WorkerError::Missing(problem)) => vec![Finding::new("apprise", Err(problem))],
                answered => {
                    let outcome = attempt(&self.url, answered).outcome;
                    let problem = Diagnostic::error(
                        outcome.reason().unwrap_or_default(),
                        outcome.remedy().unwrap_or_default(),
                    );
                    vec![Finding::new("url", Err(problem))]
                }
            }
        })
    }

    fn deliver<'a>(
        &'a self,
        common: &'a CommonParams,
        pool: &'a ConnectionPool,
        delivery: &'a Delivery,
    ) -> BoxFuture<'a, Vec<Attempt>> {
        Box::pin(self.send(common, pool, delivery))
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::sync::Arc;

    use ackpost_notify::{Asset, Attachment, ConnectionOptions, Lack, Message, ServiceUrl, prepare};

    use super::*;
    use crate::worker::scripted;

    /// A service that refuses every message with a file as too large.
    const NO_FILES: &str = r#"case $line in
*'"path"'*) echo '{"id":'$id',"loaded":true,"ok":false,"codes":[413],"lines":["error=413"],"kib":1}';;
*) echo '{"id":'$id',"loaded":true,"ok":true,"service":"x","kib":1}';;
esac"#;

    #[tokio::test]
    async fn a_text_is_not_lost_with_a_file_that_is_too_large() {
        let folder = tempfile::tempdir().expect("a folder");
        let workers = scripted::pool(folder.path(), NO_FILES);
        let pool = ConnectionPool::new(ConnectionOptions::default(), Asset::default());
        pool.of_service(|_| workers);
        let services = ackpost_notify::service::Services::new(&[]).with_foreign(&APPRISE);
        let context = ackpost_notify::Context::default().with_services(services);
        let url = ServiceUrl::parse("discord://a/b", &context).expect("it loads");
        let message = Message::new("91 % full").attach(Attachment::bytes("big.bin", "x"));
        let prepared = prepare(&url, &message).expect("it can be rendered");
        let target = prepared.targets[0].clone();
        let id = MessageId {
            id: "00112233445566778899aabbccddeeff".to_owned(),
            sent_at_ms: 1_795_000_000_000,
        };
        let piece = url.encode(&target, &prepared.chunks[0], &id);
        let mut delivery = Delivery::new(target, vec![piece]);
        delivery.files = Arc::from(vec![ackpost_notify::File {
            name: "big.bin".to_owned(),
            media_type: "application/octet-stream".to_owned(),
            bytes: vec![7; 10].into(),
        }]);
        let attempts = url.deliver(&pool, &delivery).await;
        assert!(
            matches!(&attempts[0].outcome, Outcome::Partial { lack: Lack::Files, reason, .. }
                if reason == "the text was sent without `big.bin`: too large for the service"),
            "{attempts:?}"
        );
    }

    #[test]
    fn folders_that_killed_processes_left_are_removed_after_a_day() {
        let temporary = tempfile::tempdir().expect("a folder");
        let old = std::time::SystemTime::now() - LEFT_AFTER - Duration::from_hours(1);
        for (name, is_old) in [
            ("ackpost-files-a", true),
            ("ackpost-files-b", false),
            ("other-files-c", true),
        ] {
            let path = temporary.path().join(name);
            std::fs::create_dir(&path).expect("a folder");
            std::fs::write(path.join("0"), "secret").expect("written");
            if is_old {
                std::fs::File::open(&path)
                    .and_then(|folder| folder.set_modified(old))
                    .expect("dated");
            }
        }
        sweep(temporary.path());
        let mut left: Vec<_> = std::fs::read_dir(temporary.path())
            .expect("a folder")
            .map(|entry| entry.expect("an entry").file_name())
            .collect();
        left.sort();
        assert_eq!(left, ["ackpost-files-b", "other-files-c"]);
    }
}

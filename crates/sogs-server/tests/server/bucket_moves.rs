//! Moving files between folder and bucket, backup and restore, verification, undo.

use std::path::{Path, PathBuf};

use ackpost_testkit::ObjectStore;
use session_protocol::auth::Signer;
use sogs_server::Config;
use sogs_server::admin::{AdminRequest, Answer, Operation, perform};
use sogs_server::config::{KEY_FILE, Storage};
use sogs_server::import::backup::{self, RestoreOptions};
use sogs_server::import::move_files::move_files;
use sogs_server::import::verify::{self, VerifyOptions};
use sogs_server::import::{ImportOptions, Origin, import};

use crate::bucket::{content, objects, upload, uploader};
use crate::common::{Api, in_bucket, make_admin, message, room, shared_store, somebody, start, write_config};

type Files = Vec<(i64, Vec<u8>)>;

/// A stopped server with a few files, and its bucket, which it uses if `bucket`.
async fn server(dir: &Path, store: &ObjectStore, bucket: bool) -> (Config, PathBuf, Files) {
    let mut config = crate::common::config(dir);
    let prefix = in_bucket(&mut config, store);
    if !bucket {
        config.files.storage = Storage::Folder;
    }
    write_config(&config);
    let running = start(config.clone()).await;
    room(&running, "r").await;
    let api = Api::of(&running);
    let who = uploader(&api.key);
    let mut files = Files::new();
    for size in [10, 70_000, 300_000, 900_000] {
        let bytes = content(size);
        files.push((upload(&api, &who, &bytes).await, bytes));
    }
    running.shutdown().await;
    (config, store.folder(&prefix), files)
}

async fn identical(dir: &Path, files: &Files) {
    let mut config = Config::load(dir).unwrap();
    config.net.listen = ([127, 0, 0, 1], 0).into();
    let running = start(config).await;
    let api = Api::of(&running);
    for (id, bytes) in files {
        let got = api
            .get(Some(&uploader(&api.key)), &format!("/room/r/file/{id}"))
            .await
            .expect(200);
        assert!(got.body == *bytes, "file {id}");
    }
    running.shutdown().await;
}

async fn act(dir: &Path, operation: Operation) -> Answer {
    let request = AdminRequest {
        actor: "tester".into(),
        dry_run: false,
        operation,
    };
    perform(dir, request)
        .await
        .unwrap_or_else(|error| panic!("{error}"))
}

/// Files below `uploads`.
fn in_folder(dir: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(dir.join("uploads"))
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.file_name() != "tmp")
        .flat_map(|entry| std::fs::read_dir(entry.path()).into_iter().flatten().flatten())
        .map(|entry| entry.path())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn files_move_to_the_bucket_and_back() {
    let store = shared_store().await;
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let (_, bucket, files) = server(dir, store, false).await;
    let tried = move_files(dir, Storage::S3, true).await.unwrap();
    assert_eq!((tried.copied, tried.bytes, tried.there), (4, 1_270_010, 0));
    assert!(objects(&bucket).is_empty() && Config::load(dir).unwrap().files.storage == Storage::Folder);

    // A former attempt copied one file whole and one in part.
    let sources = in_folder(dir);
    std::fs::create_dir_all(&bucket).unwrap();
    for (source, part) in sources.iter().zip([1, 2]) {
        let bytes = std::fs::read(source).unwrap();
        std::fs::write(
            bucket.join(source.file_name().unwrap()),
            &bytes[..bytes.len() / part],
        )
        .unwrap();
    }
    let moved = move_files(dir, Storage::S3, false).await.unwrap();
    assert_eq!((moved.copied, moved.there, moved.missing), (3, 1, 0), "{moved:?}");
    assert!(moved.is_complete() && Config::load(dir).unwrap().files.storage == Storage::S3);
    assert_eq!(
        (objects(&bucket).len(), in_folder(dir).len()),
        (4, 4),
        "the old copies stay"
    );
    std::fs::remove_dir_all(dir.join("uploads")).unwrap();
    identical(dir, &files).await;
    assert!(verify::verify(dir, 1).await.unwrap().is_good());
    let again = move_files(dir, Storage::S3, false)
        .await
        .expect_err("nothing to do");
    assert!(again.to_string().contains("already"), "{again}");

    let back = move_files(dir, Storage::Folder, false).await.unwrap();
    assert_eq!((back.copied, back.damaged.len()), (4, 0));
    std::fs::remove_dir_all(&bucket).unwrap();
    identical(dir, &files).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_move_is_refused_while_the_server_runs_and_for_damaged_files() {
    let store = shared_store().await;
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let (config, bucket, _) = server(dir, store, false).await;
    let running = start(config).await;
    let error = move_files(dir, Storage::S3, false).await.expect_err("it runs");
    assert!(error.to_string().contains("runs"), "{error}");
    running.shutdown().await;
    let damaged = in_folder(dir).pop().unwrap();
    std::fs::write(&damaged, b"something else").unwrap();
    let report = move_files(dir, Storage::S3, false).await.unwrap();
    assert_eq!(report.damaged, [damaged.file_name().unwrap().to_str().unwrap()]);
    assert_eq!(objects(&bucket).len(), 3);
    assert_eq!(
        Config::load(dir).unwrap().files.storage,
        Storage::Folder,
        "the configuration stays"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn verification_finds_missing_and_damaged_objects() {
    let store = shared_store().await;
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let (mut config, bucket, _) = server(dir, store, true).await;
    let names = objects(&bucket);
    std::fs::remove_file(bucket.join(&names[0])).unwrap();
    let size = usize::try_from(std::fs::metadata(bucket.join(&names[1])).unwrap().len()).unwrap();
    std::fs::write(bucket.join(&names[1]), vec![0; size]).unwrap();
    std::fs::write(bucket.join(&names[2]), b"short").unwrap();
    let whole = verify::verify(dir, 1).await.unwrap();
    let expected = [
        format!("the file {} is missing", names[0]),
        format!("the file {} is damaged", names[1]),
        format!("the file {} is damaged", names[2]),
    ];
    assert_eq!((whole.files, whole.problems.as_slice()), (4, &expected[..]));
    let sizes = VerifyOptions {
        every: 1,
        sizes_only: true,
    };
    let sizes = verify::verify_with(dir, sizes).await.unwrap();
    assert_eq!(sizes.problems.len(), 2, "{:?}", sizes.problems);
    assert!(sizes.problems[1].contains("has 5 bytes"), "{:?}", sizes.problems);
    // A bucket that is not there is no bucket without files.
    config.files.s3_bucket = "other".into();
    write_config(&config);
    let error = verify::verify(dir, 1).await.expect_err("no bucket");
    assert!(error.to_string().contains("NoSuchBucket"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_holds_the_files_of_the_bucket_and_restores_into_folder_or_bucket() {
    let store = shared_store().await;
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path().join("server");
    let (config, bucket, files) = server(&home, store, true).await;
    let to = dir.path().join("backup");
    let running = start(config).await;
    let saved = act(&home, Operation::Backup { to: to.clone() }).await;
    assert_eq!(saved.data["files"], 4, "{}", saved.data);
    running.shutdown().await;

    let folder = dir.path().join("folder");
    backup::restore(&to, &folder, None).await.unwrap();
    assert_eq!(Config::load(&folder).unwrap().files.storage, Storage::Folder);
    identical(&folder, &files).await;

    let other = dir.path().join("bucket");
    let options = RestoreOptions {
        bucket: true,
        ..RestoreOptions::default()
    };
    let error = backup::restore_with(&to, &other, options)
        .await
        .expect_err("the first community uses it");
    assert!(error.to_string().contains("holds files already"), "{error}");
    std::fs::remove_dir_all(&bucket).unwrap();
    assert!(!other.exists(), "nothing is left of the attempt");
    backup::restore_with(&to, &other, options).await.unwrap();
    assert_eq!(objects(&bucket).len(), 4);
    identical(&other, &files).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_file_comes_back_from_the_undo() {
    let store = shared_store().await;
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let (config, bucket, files) = server(dir, store, true).await;
    let running = start(config).await;
    let api = Api::of(&running);
    let before = objects(&bucket);
    let deleted = act(dir, Operation::FileDelete { id: files[2].0 }).await;
    let path = format!("/room/r/file/{}", files[2].0);
    let began = std::time::Instant::now();
    while objects(&bucket).len() == 4 {
        assert!(began.elapsed() < std::time::Duration::from_secs(40));
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    api.get(Some(&uploader(&api.key)), &path).await.expect(404);
    let id = deleted.undo.expect("an undo");
    act(dir, Operation::Undo { id: Some(id) }).await;
    assert!(api.get(Some(&uploader(&api.key)), &path).await.expect(200).body == files[2].1);
    let after = objects(&bucket);
    assert!(
        after.len() == 4 && after != before,
        "under a name that was never used"
    );
    running.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_into_a_bucket_says_what_to_do() {
    let store = shared_store().await;
    let dir = tempfile::tempdir().unwrap();
    server(dir.path(), store, true).await;
    let options = ImportOptions {
        origin: Origin::Pysogs,
        source: Path::new(env!("CARGO_MANIFEST_DIR")).join("../../vectors/sogs/pysogs-sample"),
        target: dir.path().to_path_buf(),
        database: None,
        dry_run: false,
        replace: true,
    };
    let error = import(&options).await.expect_err("not into a bucket");
    assert!(error.to_string().contains("server file move --to s3"), "{error}");
}

/// A moderator deletes on one machine, and an operator undoes it on another one.
#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_in_an_app_is_undone_by_another_process_of_the_bucket() {
    let store = shared_store().await;
    let database = tokio::task::spawn_blocking(|| ackpost_testkit::Postgres::shared().database())
        .await
        .unwrap();
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut config = crate::common::config(here.path());
    let bucket = store.folder(&in_bucket(&mut config, store));
    database.url().clone_into(&mut config.database.url);
    write_config(&config);
    let first = start(config.clone()).await;
    std::fs::copy(config.key_path(), there.path().join(KEY_FILE)).unwrap();
    config.dir = there.path().to_path_buf();
    write_config(&config);
    let second = start(config).await;
    room(&first, "r").await;
    let admin = somebody();
    make_admin(&first, &admin).await;
    let (api, other) = (Api::of(&first), Api::of(&second));
    let (admin, who) = (Signer::blind15(&admin, &api.key), uploader(&api.key));
    let bytes = content(70_000);
    let file = upload(&api, &who, &bytes).await;
    let mut post = message("with a file");
    post["files"] = serde_json::json!([file]);
    let posted = api.post(Some(&who), "/room/r/message", &post).await.expect(201);
    let path = format!("/room/r/message/{}", posted.json()["id"]);
    api.delete(Some(&admin), &path).await.expect(200);
    let began = std::time::Instant::now();
    while !objects(&bucket).is_empty() {
        assert!(began.elapsed() < std::time::Duration::from_secs(60));
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let undone = act(there.path(), Operation::Undo { id: None }).await;
    assert!(
        undone.lines.contains(&"1 of 1 file restored".to_owned()),
        "{:?}",
        undone.lines
    );
    for api in [&api, &other] {
        let got = api.get(Some(&who), &format!("/room/r/file/{file}")).await;
        assert!(got.expect(200).body == bytes);
    }
    first.shutdown().await;
    second.shutdown().await;
}

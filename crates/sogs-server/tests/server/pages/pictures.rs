//! Pictures, their small versions, and other files.

use std::time::{Duration, Instant};

use image::{DynamicImage, ImageFormat, Rgb, RgbImage};
use serde_json::json;
use session_protocol::auth::Signer;
use sogs_server::Config;
use sogs_server::admin::Operation;

use super::{Place, body, now_ms, signed};
use crate::common::{Api, Body, in_bucket, on_both, operate, room, shared_store, somebody, start};

on_both!(pictures_have_small_versions_that_go_with_them);

fn shade(at: u32) -> u8 {
    u8::try_from(at).unwrap()
}

fn picture(width: u32, height: u32, format: ImageFormat) -> Vec<u8> {
    let picture: DynamicImage =
        RgbImage::from_fn(width, height, |x, y| Rgb([shade(x % 251), shade(y % 241), 77])).into();
    let mut out = std::io::Cursor::new(Vec::new());
    picture.write_to(&mut out, format).unwrap();
    out.into_inner()
}

/// A PNG that says it is as large as this.
fn claimed(width: u32, height: u32) -> Vec<u8> {
    let mut bytes = picture(1, 1, ImageFormat::Png);
    bytes[16..20].copy_from_slice(&width.to_be_bytes());
    bytes[20..24].copy_from_slice(&height.to_be_bytes());
    let checksum = crc32fast::hash(&bytes[12..29]).to_be_bytes();
    bytes[29..33].copy_from_slice(&checksum);
    bytes
}

/// Names of contents in the folder of files.
fn contents(config: &Config) -> Vec<String> {
    let mut names = Vec::new();
    for folder in std::fs::read_dir(config.files_dir()).into_iter().flatten() {
        let folder = folder.unwrap().path();
        if folder.is_dir() && !folder.ends_with("tmp") {
            names.extend(
                std::fs::read_dir(folder)
                    .unwrap()
                    .map(|entry| entry.unwrap().file_name().into_string().unwrap()),
            );
        }
    }
    names
}

async fn pictures_have_small_versions_that_go_with_them(config: Config) {
    let place = Place::of(config.clone()).await;
    let original = picture(1600, 800, ImageFormat::Png);
    let file = place.upload(&original, "tomatoes.png").await;
    let text = place.upload(b"just text", "..%2Fnotes%E2%80%AEgpj.txt").await;
    let bomb = place.upload(&claimed(30_000, 30_000), "bomb.png").await;
    assert_eq!(
        place.get(&format!("/r/r/file/{file}")).await.status,
        404,
        "an upload that waits"
    );
    let message = place.with_file("Look", file).await;
    place.with_file("Read", text).await;
    place.with_file("Too large for a small version", bomb).await;
    let thumb = format!("/r/r/thumb/{file}");
    let page = place.until("", &thumb, true).await;
    assert!(
        page.contains("alt=\"Picture: tomatoes.png\" width=\"240\" height=\"120\""),
        "{page}"
    );
    assert!(
        page.contains("notesgpj.txt") && page.contains("9 bytes"),
        "{page}"
    );
    assert!(page.contains("rel=\"noopener nofollow\" download"), "{page}");
    let small = place.get(&thumb).await.expect(200);
    assert_eq!(small.header("content-type"), Some("image/jpeg"));
    assert_eq!(small.header("x-content-type-options"), Some("nosniff"));
    assert!(
        small
            .header("content-security-policy")
            .unwrap()
            .contains("sandbox")
    );
    assert!(small.header("cache-control").is_some());
    let decoded = image::load_from_memory(&small.body).unwrap();
    assert_eq!((decoded.width(), decoded.height()), (480, 240));
    let whole = place
        .get(&format!("/r/r/file/{file}/tomatoes.png"))
        .await
        .expect(200);
    assert_eq!(whole.body, original);
    assert_eq!(whole.header("content-type"), Some("application/octet-stream"));
    assert_eq!(
        whole.header("content-disposition"),
        Some("attachment; filename*=UTF-8''tomatoes.png")
    );
    assert_eq!(place.get(&format!("/r/r/thumb/{text}")).await.status, 404);
    assert_eq!(place.get(&format!("/r/r/thumb/{bomb}")).await.status, 404);
    assert!(place.page("").await.contains("bomb.png"));
    assert_eq!(place.get(&format!("/r/other/thumb/{file}")).await.status, 404);

    // A small version that is lost is made again.
    if config.files.storage == sogs_server::config::Storage::Folder {
        let before = contents(&config);
        let name = sogs_server::content_name(&small.body);
        let stored = before.iter().find(|one| one.starts_with(&name)).expect("stored");
        std::fs::remove_file(config.files_dir().join(&stored[..2]).join(stored)).unwrap();
        assert_eq!(place.get(&thumb).await.status, 404);
        place.until("", &thumb, true).await;
        assert_eq!(place.get(&thumb).await.expect(200).body, small.body);
    }

    // It is as visible as the message, goes with the file, and comes back with it.
    let delete = Operation::MessageDelete {
        room: "r".into(),
        ids: vec![message],
        ranges: Vec::new(),
    };
    let done = operate(&place.running, delete.clone()).await;
    assert_eq!(place.get(&thumb).await.status, 404);
    assert_eq!(place.get(&format!("/r/r/file/{file}")).await.status, 404);
    let count = || contents(&config).len();
    let began = Instant::now();
    while config.files.storage == sogs_server::config::Storage::Folder && count() > 2 {
        assert!(
            began.elapsed() < Duration::from_secs(40),
            "{:?}",
            contents(&config)
        );
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    operate(&place.running, Operation::Undo { id: done.undo }).await;
    place.until("", &thumb, true).await;
    assert_eq!(place.get(&thumb).await.expect(200).body, small.body);

    // Not on the page of a room that shows no messages.
    place.set("web", "info").await;
    assert_eq!(place.get(&thumb).await.status, 404);
    assert_eq!(place.get(&format!("/r/r/file/{file}")).await.status, 404);
    place.running.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn small_versions_are_in_the_bucket_too() {
    let store = shared_store().await;
    let dir = tempfile::tempdir().unwrap();
    let mut config = crate::common::config(dir.path());
    let prefix = in_bucket(&mut config, store);
    let objects = || crate::bucket::objects(&store.folder(&prefix)).len();
    let place = Place::of(config.clone()).await;
    let file = place.upload(&picture(900, 300, ImageFormat::Jpeg), "a.jpg").await;
    let message = place.with_file("Look", file).await;
    let thumb = format!("/r/r/thumb/{file}");
    place.until("", &thumb, true).await;
    place.get(&thumb).await.expect(200);
    assert_eq!(objects(), 2);
    let delete = Operation::MessageDelete {
        room: "r".into(),
        ids: vec![message],
        ranges: Vec::new(),
    };
    operate(&place.running, delete).await;
    let began = Instant::now();
    while objects() > 0 {
        assert!(began.elapsed() < Duration::from_secs(40), "{} objects", objects());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    place.running.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn small_versions_are_made_again_after_a_restore() {
    let dir = tempfile::tempdir().unwrap();
    let place = Place::of(crate::common::config(&dir.path().join("first"))).await;
    crate::common::write_config(&place.running.app().config());
    let file = place
        .upload(&picture(600, 500, ImageFormat::WebP), "a.webp")
        .await;
    place.with_file("Look", file).await;
    let thumb = format!("/r/r/thumb/{file}");
    place.until("", &thumb, true).await;
    let small = place.get(&thumb).await.expect(200).body;
    let to = dir.path().join("backup");
    operate(&place.running, Operation::Backup { to: to.clone() }).await;
    place.running.shutdown().await;
    let backed_up = Config {
        dir: to.clone(),
        ..Config::load(&to).unwrap()
    };
    assert_eq!(contents(&backed_up).len(), 1, "the file alone");
    let second = dir.path().join("second");
    sogs_server::import::backup::restore(&to, &second, None)
        .await
        .unwrap();
    let mut config = Config::load(&second).unwrap();
    config.net.listen = ([127, 0, 0, 1], 0).into();
    let place = Place::again(start(config).await);
    place.until("", &thumb, true).await;
    assert_eq!(place.get(&thumb).await.expect(200).body, small);
    place.running.shutdown().await;
}

/// A server in a process whose address space is bounded survives the largest pictures that it decodes, many at once.
#[tokio::test(flavor = "multi_thread")]
async fn pictures_do_not_exhaust_the_memory_of_the_server() {
    let dir = tempfile::tempdir().unwrap();
    let running = start(crate::common::config(dir.path())).await;
    room(&running, "r").await;
    operate(
        &running,
        Operation::SettingSet {
            room: None,
            name: "rate_posts".into(),
            value: Some("1000".into()),
        },
    )
    .await;
    running.shutdown().await;
    // The number of heaps is the one that the program sets.
    let (mut child, addr, key) =
        crate::crash::spawn_limited(dir.path(), "export MALLOC_ARENA_MAX=2 && ulimit -v 300000");
    let api = Api {
        addr,
        key,
        door: crate::common::Door::Http,
    };
    let who = Signer::blind15(&somebody(), &key);
    let plain = |width, height, color: image::ColorType, format| {
        let mut out = std::io::Cursor::new(Vec::new());
        DynamicImage::new(width, height, color)
            .write_to(&mut out, format)
            .unwrap();
        out.into_inner()
    };
    let pictures = [
        plain(3500, 3500, image::ColorType::Rgba8, ImageFormat::Png),
        plain(2500, 2500, image::ColorType::Rgba16, ImageFormat::Png),
        plain(4000, 4000, image::ColorType::Rgb8, ImageFormat::Jpeg),
        plain(2500, 2500, image::ColorType::Rgba8, ImageFormat::WebP),
    ];
    let send = |bytes: Vec<u8>| {
        let who = who.clone();
        async move {
            let got = api
                .call(Some(&who), "POST", "/room/r/file", Body::raw(&bytes, &[]))
                .await;
            let file = got.expect(201).json()["id"].as_i64().unwrap();
            let mut message = signed(&who, body("Look"), now_ms());
            message["files"] = json!([file]);
            api.post(Some(&who), "/room/r/message", &message)
                .await
                .expect(201);
            file
        }
    };
    let mut posts = tokio::task::JoinSet::new();
    for number in 0..16 {
        posts.spawn(send(pictures[number % pictures.len()].clone()));
    }
    let files = posts.join_all().await;
    let last = send(picture(40, 30, ImageFormat::Png)).await;
    let began = Instant::now();
    while api.get(None, &format!("/r/r/thumb/{last}")).await.status != 200 {
        assert!(began.elapsed() < Duration::from_secs(60));
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    // The newest come first; the oldest of the others comes last.
    for file in files.iter().rev() {
        while api.get(None, &format!("/r/r/thumb/{file}")).await.status != 200 {
            assert!(began.elapsed() < Duration::from_secs(90), "{file} of {files:?}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
    assert_eq!(child.try_wait().unwrap(), None, "the server lives");
    child.kill().unwrap();
    child.wait().unwrap();
}

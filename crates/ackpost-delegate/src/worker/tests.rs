//! The processes of Apprise, in whose place scripts misbehave in one way each.

use std::path::Path;

use super::scripted::{OK, pool, request, starting};
use super::*;

/// Numbers that a script wrote into a file.
fn pids(file: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// Waits until a process is gone or has only to be waited for.
async fn ends(pid: &str) {
    for _ in 0..200 {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
        if matches!(state, None | Some('Z')) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("process {pid} goes on");
}

#[tokio::test]
async fn a_process_that_ended_while_it_was_idle_loses_no_message() {
    let folder = tempfile::tempdir().expect("a folder");
    let pool = pool(folder.path(), OK);
    for number in 1..4 {
        let answered = pool.answer(&request()).await;
        assert!(matches!(&answered, Ok((answer, _)) if answer.ok), "{answered:?}");
        let pid = pids(&folder.path().join("pids")).pop().expect("a process");
        let killed = std::process::Command::new("kill").args(["-9", &pid]).status();
        assert!(killed.is_ok_and(|status| status.success()));
        ends(&pid).await;
        assert_eq!(pids(&folder.path().join("pids")).len(), number);
    }
}

#[tokio::test]
async fn a_process_ends_together_with_the_programs_of_its_plugins() {
    let folder = tempfile::tempdir().expect("a folder");
    let children = folder.path().join("children");
    let hangs = format!("sleep 300 & echo $! >>{}\nwait", children.display());
    let pool = pool(folder.path(), &hangs);
    let request = request();
    let answered = tokio::time::timeout(Duration::from_secs(60), async {
        tokio::select! {
            answered = pool.answer(&request) => panic!("{answered:?}"),
            () = async {
                while pids(&children).is_empty() {
                    tokio::time::sleep(Duration::from_millis(25)).await;
                }
            } => {}
        }
    });
    answered.await.expect("the plugin's program starts");
    ends(&pids(&children)[0]).await;
}

/// Waits until a file has so many lines.
async fn has_lines(file: &Path, count: usize) {
    let until = Instant::now() + Duration::from_secs(60);
    while pids(file).len() < count {
        assert!(Instant::now() < until, "{:?}", pids(file));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Requests at the same time; their answers.
async fn together(pool: &WorkerPool, count: usize) -> Vec<Result<(WorkerResponse, Installed), WorkerError>> {
    let request = request();
    let all: Vec<_> = (0..count).map(|_| Box::pin(pool.answer(&request))).collect();
    let mut all: Vec<_> = all.into_iter().map(Some).collect();
    let mut answers = Vec::new();
    std::future::poll_fn(|context| {
        for one in &mut all {
            if let Some(future) = one
                && let std::task::Poll::Ready(answer) = future.as_mut().poll(context)
            {
                answers.push(answer);
                *one = None;
            }
        }
        if all.iter().all(Option::is_none) {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    })
    .await;
    answers
}

fn are_well(answers: &[Result<(WorkerResponse, Installed), WorkerError>]) -> bool {
    answers
        .iter()
        .all(|answered| matches!(answered, Ok((answer, _)) if answer.ok))
}

/// A slow start is no reason to start another process.
#[tokio::test]
async fn many_messages_wait_for_one_process_that_starts_slowly() {
    let folder = tempfile::tempdir().expect("a folder");
    let (started, at_start) = (folder.path().join("pids"), folder.path().join("at-start"));
    // Twice the time that a message waits for busy processes. On a slow machine another one may start later, while the
    // first one is busy.
    let slowly = format!(
        "sleep 3; [ -e {1} ] || cp {0} {1}",
        started.display(),
        at_start.display()
    );
    let pool = starting(folder.path(), &slowly, OK);
    let answers = together(&pool, 31).await;
    assert!(are_well(&answers), "{answers:?}");
    assert_eq!(pids(&at_start).len(), 1);
}

/// It answers in the reverse order, once it has eight requests.
#[tokio::test]
async fn a_process_delivers_eight_messages_at_the_same_time() {
    let folder = tempfile::tempdir().expect("a folder");
    let script = "ids=\"$id $ids\"\nset -- $ids\nif [ $# = 8 ]; then for id in $ids; do\n\
                  echo '{\"id\":'$id',\"loaded\":true,\"ok\":true,\"service\":\"'$id'\",\"kib\":1}'; done; fi";
    let pool = pool(folder.path(), script);
    let answers = together(&pool, 8).await;
    assert!(are_well(&answers), "{answers:?}");
    let mut services: Vec<String> = (answers.into_iter().flatten())
        .map(|(answer, _)| answer.service)
        .collect();
    services.sort();
    assert_eq!(
        services,
        ["0", "1", "2", "3", "4", "5", "6", "7"],
        "each has its own"
    );
    assert_eq!(pids(&folder.path().join("pids")).len(), 1);
}

/// Nothing is answered until the file `go` is there.
#[tokio::test]
async fn at_most_four_processes_run() {
    let folder = tempfile::tempdir().expect("a folder");
    let script = format!(
        "( while [ ! -e {}/go ]; do sleep 0.05; done\n{OK} ) &",
        folder.path().display()
    );
    let pool = pool(folder.path(), &script);
    let started = folder.path().join("pids");
    let (answers, ()) = tokio::join!(together(&pool, MOST * TOGETHER + 5), async {
        has_lines(&started, MOST).await;
        // Longer than a message waits before it wants another process.
        tokio::time::sleep(2 * PATIENCE).await;
        assert_eq!(pids(&started).len(), MOST);
        std::fs::write(folder.path().join("go"), "").expect("written");
    });
    assert!(are_well(&answers), "{answers:?}");
    assert_eq!(pids(&started).len(), MOST);
}

#[tokio::test]
async fn a_process_that_took_much_memory_is_replaced() {
    let folder = tempfile::tempdir().expect("a folder");
    let large = OK.replace("\"kib\":1", &format!("\"kib\":{MEMORY_KIB}"));
    let pool = pool(folder.path(), &large);
    for number in 1..3 {
        assert!(are_well(&together(&pool, 1).await));
        let all = pids(&folder.path().join("pids"));
        assert_eq!(all.len(), number);
        ends(&all[number - 1]).await;
    }
}

#[tokio::test]
async fn a_process_is_replaced_after_its_messages() {
    let folder = tempfile::tempdir().expect("a folder");
    let pool = pool(folder.path(), OK);
    let most = usize::try_from(MESSAGES).expect("a number");
    let answers = together(&pool, most + 1).await;
    assert_eq!(answers.len(), most + 1);
    assert!(are_well(&answers));
    let all = pids(&folder.path().join("pids"));
    assert_eq!(all.len(), 2);
    ends(&all[0]).await;
}

#[tokio::test]
async fn an_answer_without_an_end_is_not_read_to_its_end() {
    let folder = tempfile::tempdir().expect("a folder");
    let pool = pool(folder.path(), "yes | tr -d '\\n'");
    let answers = together(&pool, 1).await;
    assert!(matches!(&answers[..], [Err(WorkerError::Open(_))]), "{answers:?}");
    ends(&pids(&folder.path().join("pids"))[0]).await;
}

/// The messages that it works on are in doubt, and the next one goes to another process.
#[tokio::test]
async fn an_answer_that_is_no_json_ends_its_process() {
    let folder = tempfile::tempdir().expect("a folder");
    let script = format!(
        "if [ -e {0}/once ]; then {OK}; else echo >{0}/once; echo nonsense; fi",
        folder.path().display()
    );
    let pool = pool(folder.path(), &script);
    let answers = together(&pool, 1).await;
    assert!(
        matches!(&answers[..], [Err(WorkerError::Open(cause))] if cause.contains("not understood")),
        "{answers:?}"
    );
    let answers = together(&pool, 1).await;
    assert!(are_well(&answers), "{answers:?}");
    let all = pids(&folder.path().join("pids"));
    assert_eq!(all.len(), 2);
    ends(&all[0]).await;
}

#[tokio::test]
async fn a_message_over_the_limit_starts_no_process() {
    let folder = tempfile::tempdir().expect("a folder");
    let pool = pool(folder.path(), OK);
    let body = "x".repeat(ORDER_BYTES);
    let large = WorkerRequest {
        body: &body,
        ..request()
    };
    let answered = pool.answer(&large).await;
    assert!(matches!(answered, Err(WorkerError::TooLarge)), "{answered:?}");
    assert_eq!(pids(&folder.path().join("pids")), Vec::<String>::new());
}

/// A message that is given up leaves the others of its process alone, and the process takes no further one.
#[tokio::test]
async fn a_message_that_is_given_up_ends_no_other() {
    let folder = tempfile::tempdir().expect("a folder");
    let script = format!(
        "case $line in *hangs*) echo x >>{0}/hanging;; *slow*) ( while [ ! -e {0}/go ]; do sleep 0.05; done\n{OK} ) &;; *) {OK};; esac",
        folder.path().display()
    );
    let pool = pool(folder.path(), &script);
    let (started, hanging) = (folder.path().join("pids"), folder.path().join("hanging"));
    let (hangs, slow) = (
        WorkerRequest {
            body: "hangs",
            ..request()
        },
        WorkerRequest {
            body: "slow",
            ..request()
        },
    );
    let (answered, ()) = tokio::join!(pool.answer(&slow), async {
        has_lines(&started, 1).await;
        tokio::select! {
            answered = pool.answer(&hangs) => panic!("{answered:?}"),
            () = has_lines(&hanging, 1) => {}
        }
        assert!(are_well(&together(&pool, 1).await));
        assert_eq!(pids(&started).len(), 2, "the next message has another process");
        std::fs::write(folder.path().join("go"), "").expect("written");
    });
    assert!(matches!(&answered, Ok((answer, _)) if answer.ok), "{answered:?}");
    ends(&pids(&started)[0]).await;
}

/// The process ignores that its input was closed; its program would go on too.
#[tokio::test]
async fn a_process_that_does_not_end_is_killed_with_its_programs() {
    let folder = tempfile::tempdir().expect("a folder");
    let children = folder.path().join("children");
    let script = format!("sleep 300 & echo $! >>{}\n{OK}\nwait", children.display());
    let pool = pool(folder.path(), &script);
    assert!(are_well(&together(&pool, 1).await));
    let began = Instant::now();
    pool.close().await;
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    ends(&pids(&folder.path().join("pids"))[0]).await;
    ends(&pids(&children)[0]).await;
}

/// A program that a plugin left in the background, such as a viewer, is not ended with an idle process.
#[tokio::test]
async fn a_process_that_ends_by_itself_leaves_its_programs_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let children = folder.path().join("children");
    let script = format!("sleep 300 >/dev/null & echo $! >>{}\n{OK}", children.display());
    let pool = pool(folder.path(), &script);
    assert!(are_well(&together(&pool, 1).await));
    pool.close().await;
    ends(&pids(&folder.path().join("pids"))[0]).await;
    let child = pids(&children).remove(0);
    let alive = std::process::Command::new("kill").args(["-0", &child]).status();
    assert!(alive.is_ok_and(|status| status.success()), "it was ended");
    let _ = std::process::Command::new("kill").args(["-9", &child]).status();
}

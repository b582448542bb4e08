//! One message for one loaded URL.

use std::sync::Arc;

use crate::message::Message;
use crate::report::{Report, Status};
use crate::service::loaded::ServiceUrl;

use super::plan::prepare_shared;
use super::pool::{ConnectionOptions, ConnectionPool};
use super::run::{Job, Run, RunOptions};

impl ServiceUrl {
    /// Sends one message to every target of the URL, with default options and over connections of its own.
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// use ackpost_notify::{Context, ServiceUrl};
    ///
    /// let service = ServiceUrl::parse("xmpps://bot:secret@example.org/jane", &Context::default())?;
    /// service.send("backup done").await.into_result()?;
    /// # Ok(()) }
    /// ```
    pub async fn send(&self, message: impl Into<Message>) -> Report {
        let pool = ConnectionPool::new(ConnectionOptions::default(), crate::Asset::default());
        let report = self.send_with(&RunOptions::default(), &pool, message).await;
        pool.close().await;
        report
    }

    /// Like [`send`](Self::send), with options and over connections that the caller keeps.
    pub async fn send_with(
        &self,
        options: &RunOptions,
        pool: &ConnectionPool,
        message: impl Into<Message>,
    ) -> Report {
        let message = message.into();
        let problems = (self.warnings().iter())
            .filter(|problem| problem.is_error())
            .cloned();
        let mut problems: Vec<_> = problems.collect();
        match prepare_shared(self, &Arc::new(pool.asset().complete(&message))) {
            Ok(prepared) => {
                let job = Job {
                    service: self.clone(),
                    tags: Vec::new(),
                    prepared,
                    retry: self.common().retry,
                };
                let run = Run::new(vec![job]).with_problems(problems);
                run.send(options, pool, &message).await
            }
            Err(problem) => {
                problems.push(problem);
                Report::without_targets(Status::Failure, problems)
            }
        }
    }
}

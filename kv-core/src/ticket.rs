//! Waits for an answer of the writer thread, on a thread or in a task.

use std::{
    future::IntoFuture,
    pin::Pin,
    task::{Context, Poll},
};

use crate::{commit::Outcome, error::WriteError};

/// The future answer to an operation: await it, or call [`Ticket::wait`]. Dropping a ticket does not cancel its
/// operation.
#[derive(Debug)]
pub struct Ticket(pub(crate) oneshot::Receiver<Result<Outcome, WriteError>>);

impl Ticket {
    /// Blocks until the operation is applied and durable (see
    /// [`Durability`](crate::Durability)), or refused.
    ///
    /// # Errors
    /// See [`WriteError`].
    pub fn wait(self) -> Result<Outcome, WriteError> {
        self.0.recv().unwrap_or_else(|_ended| Err(ended()))
    }
}

impl IntoFuture for Ticket {
    type Output = Result<Outcome, WriteError>;
    type IntoFuture = TicketFuture;

    fn into_future(self) -> TicketFuture {
        TicketFuture(self.0.into_future())
    }
}

/// The future of a [`Ticket`].
pub struct TicketFuture(oneshot::AsyncReceiver<Result<Outcome, WriteError>>);

impl Future for TicketFuture {
    type Output = Result<Outcome, WriteError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = Pin::new(&mut self.0).poll(context);
        answer.map(|answer| answer.unwrap_or_else(|_ended| Err(ended())))
    }
}

/// The writer thread ended without an answer: it panicked, and the operation may be applied or not.
fn ended() -> WriteError {
    WriteError::OutcomeUnknown("the writer thread has ended".into())
}

//! One link to a peer: the tasks that move messages on its streams.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use kv_core::MemberId;
use quinn::{Connection, RecvStream, SendStream, VarInt};
use tokio::{
    sync::{Notify, mpsc},
    task::JoinSet,
};

use super::{
    code,
    input::Input,
    link_error::LinkError,
    pace::Pace,
    proven::{Proven, close},
    stream,
    window::Window,
};
use crate::Channel;

/// How many messages of each channel may wait for QUIC to take them.
const QUEUE: [usize; 4] = [64, 16, 4, 4];

/// A link that is up, as the driver sees it.
#[derive(Debug)]
pub(super) struct Link {
    /// Tells this link from others to the same peer.
    pub(super) number: u64,
    /// The QUIC connection.
    pub(super) connection: Connection,
    /// Whether this location dialled.
    pub(super) is_ours: bool,
    /// When it came up.
    pub(super) since: Duration,
    /// The messages that wait for each channel's stream, by the channel's index.
    queues: [mpsc::Sender<Bytes>; 4],
    /// Bounds what waits in the link.
    window: Arc<Window>,
}

impl Link {
    /// Starts the tasks of a link, in the set that is given.
    pub(super) fn start(
        proven: Proven,
        (number, since): (u64, Duration),
        (pace, window_bytes): (Option<Pace>, u32),
        (inputs, room): (mpsc::Sender<Input>, Arc<Notify>),
        tasks: &mut JoinSet<()>,
    ) -> Link {
        let Proven { peer, connection, is_ours, control, .. } = proven;
        let [control_queue, live, catch_up, body] = QUEUE.map(mpsc::channel);
        let queues = [control_queue.0, live.0, catch_up.0, body.0];
        let waiting = [control_queue.1, live.1, catch_up.1, body.1];
        let window = Arc::new(Window::new(connection.clone(), window_bytes));
        let moving = Moving {
            peer,
            number,
            connection: connection.clone(),
            window: Arc::clone(&window),
            inputs,
            room,
        };
        tasks.spawn(moving.run(control, waiting, pace.map(Arc::new)));
        Link { number, connection, is_ours, since, queues, window }
    }

    /// Whether a message of a channel can be queued.
    pub(super) fn has_room(&self, channel: Channel) -> bool {
        self.queues[stream::index(channel)].capacity() > 0 && self.window.has_room(channel)
    }

    /// Queues a message. There must be [room](Link::has_room) for it.
    pub(super) fn send(&self, channel: Channel, message: Bytes) {
        let bytes = message.len();
        self.window.queued(channel, bytes);
        if self.queues[stream::index(channel)].try_send(message).is_err() {
            // The link has ended, and its tasks report it.
            tracing::trace!("dropped a message for a link that has ended");
        }
    }

    /// Closes the connection; the tasks of the link end.
    pub(super) fn close(&self, code: VarInt, reason: &str) {
        self.connection.close(code, reason.as_bytes());
    }
}

/// The state that the tasks of a link share.
#[derive(Clone)]
struct Moving {
    /// The other end of the link.
    peer: MemberId,
    /// The number of the link, which its reports name.
    number: u64,
    /// The QUIC connection.
    connection: Connection,
    /// Bounds what waits in the link.
    window: Arc<Window>,
    /// Where messages and the end of the link are reported.
    inputs: mpsc::Sender<Input>,
    /// Notified when there is room again in a queue.
    room: Arc<Notify>,
}

impl Moving {
    /// Moves messages until the link ends, and reports its end.
    async fn run(
        self,
        (send, receive): (SendStream, RecvStream),
        queues: [mpsc::Receiver<Bytes>; 4],
        pace: Option<Arc<Pace>>,
    ) {
        let mut tasks = JoinSet::new();
        tasks.spawn(self.clone().write_all(send, queues, pace));
        tasks.spawn(self.clone().read(receive));
        tasks.spawn(self.clone().accept());
        let error = match tasks.join_next().await {
            Some(Ok(Err(error))) => error,
            Some(Ok(Ok(()))) | None => LinkError::Closed,
            Some(Err(error)) => LinkError::Task(error),
        };
        let is_violation = matches!(error, LinkError::Violation(_));
        close(&self.connection, if is_violation { code::WRONG } else { code::GOING }, &error);
        tasks.shutdown().await;
        let Moving { peer, number, inputs, .. } = self;
        let _over = inputs.send(Input::Down { peer, number, error }).await;
    }

    /// Sends the messages of all queues until one of them ends. It is one task, so that messages of several
    /// channels leave in one packet; no channel waits for another.
    async fn write_all(
        self,
        control: SendStream,
        queues: [mpsc::Receiver<Bytes>; 4],
        pace: Option<Arc<Pace>>,
    ) -> Result<(), LinkError> {
        let [control_queue, live, rows, bodies] = queues;
        tokio::select! {
            biased;
            ended = self.clone().write(Channel::Control, Some(control), control_queue, None) => ended,
            ended = self.clone().write(Channel::Live, None, live, None) => ended,
            ended = self.clone().write(Channel::CatchUp, None, rows, pace.clone()) => ended,
            ended = self.clone().write(Channel::Body, None, bodies, pace) => ended,
        }
    }

    /// Sends the messages of a queue: a lone one at once, others together.
    async fn write(
        self,
        channel: Channel,
        opened: Option<SendStream>,
        mut queue: mpsc::Receiver<Bytes>,
        pace: Option<Arc<Pace>>,
    ) -> Result<(), LinkError> {
        let mut stream = match opened {
            Some(stream) => stream,
            None => {
                let mut stream = self.connection.open_uni().await?;
                stream::begin(&mut stream, channel).await?;
                stream
            }
        };
        let most = if pace.is_some() { 1 } else { QUEUE[stream::index(channel)] };
        let (mut messages, mut chunks) = (Vec::with_capacity(most), Vec::new());
        while queue.recv_many(&mut messages, most).await > 0 {
            let bytes = messages.iter().map(Bytes::len).sum();
            if let Some(pace) = &pace {
                pace.wait(bytes).await;
            }
            stream::frames(&mut messages, &mut chunks);
            self.window.write(channel, bytes, stream.write_all_chunks(&mut chunks)).await?;
            self.room.notify_one();
        }
        // The driver has dropped the link.
        Ok(())
    }

    /// Hands on the messages of a stream.
    async fn read(self, mut stream: RecvStream) -> Result<(), LinkError> {
        loop {
            let bytes = stream::read(&mut stream).await?;
            let (from, number) = (self.peer, self.number);
            // While the driver is busy the stream waits, and by its window the peer.
            if self.inputs.send(Input::Received { from, number, bytes }).await.is_err() {
                return Ok(());
            }
        }
    }

    /// Accepts the peer's streams: one for each channel but control.
    async fn accept(self) -> Result<(), LinkError> {
        let mut tasks = JoinSet::new();
        let mut is_open = [true, false, false, false];
        loop {
            tokio::select! {
                stream = self.connection.accept_uni() => {
                    let mut stream = stream?;
                    let number = stream::number(&mut stream).await?;
                    match is_open.get_mut(number) {
                        Some(open) if !*open => *open = true,
                        _ => return Err(LinkError::Violation("it opened an unknown stream")),
                    }
                    tasks.spawn(self.clone().read(stream));
                }
                Some(ended) = tasks.join_next() => {
                    return ended?;
                }
            }
        }
    }
}

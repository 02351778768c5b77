//! One link to a peer: its streams, and the tasks that move messages on them.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use kv_core::MemberId;
use quinn::{Connection, RecvStream, SendStream, VarInt};
use tokio::{
    sync::{Notify, mpsc},
    task::JoinSet,
    time::timeout,
};

use super::{driver::Input, frame, pace::Pace};
use crate::Channel;

/// How many messages of each channel may wait for QUIC to take them.
const QUEUE: [usize; 4] = [64, 16, 4, 4];

/// Which streams are served first.
const PRIORITY: [i32; 4] = [3, 2, 1, 0];

/// Why a link is closed, as the peer is told.
pub(super) const GOING: VarInt = VarInt::from_u32(0);
const WRONG: VarInt = VarInt::from_u32(1);
pub(super) const DOUBLE: VarInt = VarInt::from_u32(2);
pub(super) const REFUSED: VarInt = VarInt::from_u32(4);

/// How a link came to its end.
#[derive(Debug)]
pub(super) enum Ended {
    /// The connection was lost, or the peer closed it.
    Lost(String),
    /// The peer did what no location does.
    Wrong(&'static str),
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Ended::Lost(why) => f.write_str(why),
            Ended::Wrong(why) => f.write_str(why),
        }
    }
}

/// The place of a channel among the four, and its number on the wire.
fn place(channel: Channel) -> usize {
    match channel {
        Channel::Control => 0,
        Channel::Live => 1,
        Channel::CatchUp => 2,
        Channel::Body => 3,
    }
}

/// A connection on which both ends have proven who they are.
#[derive(Debug)]
pub(super) struct Proven {
    pub(super) peer: MemberId,
    pub(super) connection: Connection,
    /// This location dialled.
    pub(super) is_ours: bool,
    control: (SendStream, RecvStream),
}

impl Proven {
    /// What follows the handshake: a control stream on which each end has spoken. Until then who
    /// dialled can't know whether it was let in.
    pub(super) async fn new(
        peer: MemberId,
        connection: Connection,
        is_ours: bool,
        patience: Duration,
    ) -> Result<Proven, Ended> {
        let greeted = timeout(patience, greet(&connection, is_ours)).await;
        match greeted.unwrap_or(Err(Ended::Wrong("it does not open its control stream"))) {
            Ok(control) => Ok(Proven { peer, connection, is_ours, control }),
            Err(ended) => {
                connection.close(WRONG, ended.to_string().as_bytes());
                Err(ended)
            }
        }
    }
}

async fn greet(connection: &Connection, is_ours: bool) -> Result<(SendStream, RecvStream), Ended> {
    let lost = |error: quinn::ConnectionError| Ended::Lost(error.to_string());
    let (mut send, mut receive) = if is_ours {
        connection.open_bi().await.map_err(lost)?
    } else {
        connection.accept_bi().await.map_err(lost)?
    };
    begin(&mut send, Channel::Control).await?;
    let mut number = [0];
    receive.read_exact(&mut number).await.map_err(frame::ended)?;
    if usize::from(number[0]) != place(Channel::Control) {
        return Err(Ended::Wrong("its first stream is not for control"));
    }
    Ok((send, receive))
}

/// Says what a stream is for.
async fn begin(stream: &mut SendStream, channel: Channel) -> Result<(), Ended> {
    let at = place(channel);
    let lost = |error: &dyn std::fmt::Display| Ended::Lost(error.to_string());
    stream.set_priority(PRIORITY[at]).map_err(|error| lost(&error))?;
    let number = u8::try_from(at).unwrap_or_default();
    stream.write_all(&[number]).await.map_err(|error| lost(&error))
}

/// A link that is up, as the driver sees it.
#[derive(Debug)]
pub(super) struct Link {
    /// Tells this link from others to the same peer.
    pub(super) number: u64,
    pub(super) connection: Connection,
    pub(super) is_ours: bool,
    /// When it came up.
    pub(super) since: Duration,
    queues: [mpsc::Sender<Bytes>; 4],
}

impl Link {
    /// Starts the tasks of a link, in the set that is given.
    pub(super) fn start(
        proven: Proven,
        (number, since): (u64, Duration),
        pace: Option<Pace>,
        (inputs, room): (mpsc::Sender<Input>, Arc<Notify>),
        tasks: &mut JoinSet<()>,
    ) -> Link {
        let Proven { peer, connection, is_ours, control } = proven;
        let [control_queue, live, catch_up, body] = QUEUE.map(mpsc::channel);
        let queues = [control_queue.0, live.0, catch_up.0, body.0];
        let waiting = [control_queue.1, live.1, catch_up.1, body.1];
        let moving = Moving { peer, number, connection: connection.clone(), inputs, room };
        tasks.spawn(moving.run(control, waiting, pace.map(Arc::new)));
        Link { number, connection, is_ours, since, queues }
    }

    pub(super) fn has_room(&self, channel: Channel) -> bool {
        self.queues[place(channel)].capacity() > 0
    }

    /// Puts a message in line, for which there is room.
    pub(super) fn send(&self, channel: Channel, message: Bytes) {
        if self.queues[place(channel)].try_send(message).is_err() {
            // The link is at its end, of which its tasks tell.
            tracing::trace!("a message for a link that is at its end");
        }
    }

    /// Ends it; its tasks notice.
    pub(super) fn close(&self, code: VarInt, reason: &str) {
        self.connection.close(code, reason.as_bytes());
    }
}

/// What the tasks of a link share.
#[derive(Clone)]
struct Moving {
    peer: MemberId,
    number: u64,
    connection: Connection,
    inputs: mpsc::Sender<Input>,
    /// Told when there is room again in a queue.
    room: Arc<Notify>,
}

impl Moving {
    /// Moves messages until the link ends, one way or another.
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
        let ended = match tasks.join_next().await {
            Some(Ok(Err(ended))) => ended,
            Some(Ok(Ok(()))) | None => Ended::Lost("it was closed here".into()),
            Some(Err(error)) => Ended::Lost(error.to_string()),
        };
        let code = if matches!(ended, Ended::Wrong(_)) { WRONG } else { GOING };
        self.connection.close(code, ended.to_string().as_bytes());
        tasks.shutdown().await;
        let Moving { peer, number, inputs, .. } = self;
        let _over = inputs.send(Input::Down { peer, number, ended }).await;
    }

    /// Sends what waits in all queues, until one of them ends. It is one task, so that what the core says on
    /// several channels at once goes out in one packet; no channel waits for another.
    async fn write_all(
        self,
        control: SendStream,
        queues: [mpsc::Receiver<Bytes>; 4],
        pace: Option<Arc<Pace>>,
    ) -> Result<(), Ended> {
        let [said, live, rows, bodies] = queues;
        tokio::select! {
            biased;
            ended = self.clone().write(Channel::Control, Some(control), said, None) => ended,
            ended = self.clone().write(Channel::Live, None, live, None) => ended,
            ended = self.clone().write(Channel::CatchUp, None, rows, pace.clone()) => ended,
            ended = self.clone().write(Channel::Body, None, bodies, pace) => ended,
        }
    }

    /// Sends what waits in a queue: at once when it is alone, else together with what came meanwhile.
    async fn write(
        self,
        channel: Channel,
        stream: Option<SendStream>,
        mut queue: mpsc::Receiver<Bytes>,
        pace: Option<Arc<Pace>>,
    ) -> Result<(), Ended> {
        let lost = |error: &dyn std::fmt::Display| Ended::Lost(error.to_string());
        let mut stream = match stream {
            Some(stream) => stream,
            None => {
                let mut stream = self.connection.open_uni().await.map_err(|error| lost(&error))?;
                begin(&mut stream, channel).await?;
                stream
            }
        };
        let most = if pace.is_some() { 1 } else { QUEUE[place(channel)] };
        let (mut messages, mut chunks) = (Vec::with_capacity(most), Vec::new());
        while queue.recv_many(&mut messages, most).await > 0 {
            self.room.notify_one();
            if let Some(pace) = &pace {
                pace.wait(messages.iter().map(Bytes::len).sum()).await;
            }
            frame::frames(&mut messages, &mut chunks);
            stream.write_all_chunks(&mut chunks).await.map_err(|error| lost(&error))?;
        }
        // The driver let go of the link.
        Ok(())
    }

    async fn read(self, mut stream: RecvStream) -> Result<(), Ended> {
        loop {
            let bytes = frame::read(&mut stream).await?;
            let (from, number) = (self.peer, self.number);
            // The driver takes its time: so does the stream, and by its window the peer.
            if self.inputs.send(Input::Received { from, number, bytes }).await.is_err() {
                return Ok(());
            }
        }
    }

    /// Takes the peer's streams, of which there is one for each channel but control.
    async fn accept(self) -> Result<(), Ended> {
        let mut tasks = JoinSet::new();
        let mut is_taken = [true, false, false, false];
        loop {
            tokio::select! {
                stream = self.connection.accept_uni() => {
                    let mut stream = stream.map_err(|error| Ended::Lost(error.to_string()))?;
                    let mut number = [0];
                    stream.read_exact(&mut number).await.map_err(frame::ended)?;
                    match is_taken.get_mut(usize::from(number[0])) {
                        Some(taken) if !*taken => *taken = true,
                        _ => return Err(Ended::Wrong("it opens a stream that there is not")),
                    }
                    tasks.spawn(self.clone().read(stream));
                }
                Some(ended) = tasks.join_next() => {
                    return ended.unwrap_or_else(|error| Err(Ended::Lost(error.to_string())));
                }
            }
        }
    }
}

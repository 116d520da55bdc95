//! One connection: a task that reads frames and writes what is queued, until either side closes it.

use sfu_engine::transport::framing::{Deframer, frame_into};
use std::cell::{Cell, RefCell};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout, timeout_at};

/// What is still queued when the shard closes a connection has this long to leave.
const LINGER: Duration = Duration::from_millis(100);
/// A connection that takes not a byte for this long is dead.
const STALL: Duration = Duration::from_secs(10);
/// Bytes of one length that RFC 4571 puts before each frame.
const LENGTH_BYTES: usize = 2;
/// A send queue that has grown beyond this gives its memory back once it is empty.
const KEPT_BYTES: usize = 64 << 10;

/// What the shard and the connection's task share; both run on the shard's thread.
pub(super) struct Link {
    limit: usize,
    /// Frames that wait for the task.
    queue: RefCell<Vec<u8>>,
    /// Bytes that the task is writing.
    in_flight: Cell<usize>,
    /// Wakes the writer.
    more: Notify,
    trusted: Cell<bool>,
    closed: Notify,
    is_closed: Cell<bool>,
}

impl Link {
    /// A link whose queue holds up to `limit` bytes.
    pub(super) fn new(limit: usize) -> Self {
        Link {
            limit,
            queue: RefCell::default(),
            in_flight: Cell::new(0),
            more: Notify::new(),
            trusted: Cell::new(false),
            closed: Notify::new(),
            is_closed: Cell::new(false),
        }
    }

    /// Queues a datagram as one frame. False if there is no room.
    pub(super) fn send(&self, datagram: &[u8]) -> bool {
        let mut queue = self.queue.borrow_mut();
        if queue.len() + self.in_flight.get() + LENGTH_BYTES + datagram.len() > self.limit {
            return false;
        }
        let queued = frame_into(&mut queue, datagram).is_ok();
        self.more.notify_one();
        queued
    }

    /// The connection may stay, and send long frames.
    pub(super) fn trust(&self) {
        self.trusted.set(true);
    }

    /// Ends the task once what is queued has been sent, at the latest after [`LINGER`].
    pub(super) fn close(&self) {
        self.is_closed.set(true);
        self.closed.notify_one();
        self.more.notify_one();
    }
}

/// Serves a connection until it ends, is closed, breaks the framing, stalls, or is not trusted within `validation`.
/// Frames go to `deliver`, which returns false when nobody takes them any more.
pub(super) async fn drive(
    mut stream: TcpStream,
    link: &Link,
    first: Vec<u8>,
    deframer: Deframer,
    validation: Duration,
    deliver: impl AsyncFn(Vec<u8>) -> bool,
) {
    let (reader, writer) = stream.split();
    tokio::select! {
        () = read_frames(reader, link, first, deframer, Instant::now() + validation, deliver) => {}
        () = write_frames(writer, link) => {}
        () = async { link.closed.notified().await; tokio::time::sleep(LINGER).await } => {}
    }
}

async fn read_frames(
    mut reader: ReadHalf<'_>,
    link: &Link,
    first: Vec<u8>,
    mut deframer: Deframer,
    validated_by: Instant,
    deliver: impl AsyncFn(Vec<u8>) -> bool,
) {
    if !deliver(first).await {
        return;
    }
    let mut buffer = vec![0; 16 << 10];
    loop {
        if link.trusted.get() {
            deframer.authenticate();
        }
        loop {
            match deframer.pop() {
                Ok(Some(frame)) if deliver(frame.to_vec()).await => {}
                Ok(None) => break,
                Ok(Some(_)) | Err(_) => return,
            }
        }
        let read = if link.trusted.get() {
            reader.read(&mut buffer).await
        } else {
            match timeout_at(validated_by, reader.read(&mut buffer)).await {
                Ok(read) => read,
                // It may have been validated while we waited.
                Err(_) if link.trusted.get() => continue,
                Err(_) => return,
            }
        };
        match read {
            Ok(length) if length > 0 => deframer.push(&buffer[..length]),
            _ => return,
        }
    }
}

async fn write_frames(mut writer: WriteHalf<'_>, link: &Link) {
    let mut bytes = Vec::new();
    loop {
        std::mem::swap(&mut bytes, &mut link.queue.borrow_mut());
        link.in_flight.set(bytes.len());
        if bytes.is_empty() {
            if link.is_closed.get() {
                return;
            }
            link.more.notified().await;
            continue;
        }
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            match timeout(STALL, writer.write(rest)).await {
                Ok(Ok(written)) if written > 0 => rest = &rest[written..],
                _ => return,
            }
            link.in_flight.set(rest.len());
        }
        bytes.clear();
        bytes.shrink_to(KEPT_BYTES);
    }
}

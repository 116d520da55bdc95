use super::accept::prove;
use super::*;
use sfu_engine::transport::framing::{UNAUTHENTICATED_FRAME_LIMIT, frame_into};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::LocalSet;

/// A binding request of which only the user fragment's first letters matter here: those of shard 0.
fn check() -> Vec<u8> {
    let mut message = vec![0, 1, 0, 16, 0x21, 0x12, 0xa4, 0x42];
    message.extend([7; 12]);
    message.extend([0, 6, 0, 12]);
    message.extend(b"00abcdef:xyz");
    message
}

fn framed(packet: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    frame_into(&mut bytes, packet).unwrap();
    bytes
}

/// A client that has sent a check, and the connection as a shard gets it.
async fn connect(strangers: &Strangers) -> (TcpStream, Accepted) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (stream, remote) = listener.accept().await.unwrap();
    client.write_all(&framed(&check())).await.unwrap();
    let (shard, accepted) = prove(stream, remote, strangers.enter(remote.ip()).unwrap()).await.unwrap();
    assert_eq!(shard, 0);
    (client, accepted)
}

/// Patient enough never to close anything by time during a test.
fn limits() -> TcpLimits {
    TcpLimits { validation: Duration::from_secs(3600), ..TcpLimits::default() }
}

fn frame(input: TcpInput) -> Vec<u8> {
    match input {
        TcpInput::Frame(_, frame) => frame,
        TcpInput::Closed(tuple) => panic!("{tuple:?} was closed"),
    }
}

/// Ends when the server has closed the connection.
async fn until_closed(client: &mut TcpStream) {
    // A reset is an end too.
    let _ = client.read_to_end(&mut Vec::new()).await;
}

#[tokio::test]
async fn frames_of_a_connection_come_out_in_order_and_answers_go_back_framed() {
    let test = async {
        let (mut client, accepted) = connect(&Strangers::default()).await;
        let tuple = accepted.tuple;
        let mut ports = TcpPorts::new(limits());
        ports.add(accepted);
        client.write_all(&[framed(&[20, 1]), framed(&[20, 2])].concat()).await.unwrap();
        assert_eq!(frame(ports.next().await), check());
        assert_eq!(frame(ports.next().await), [20, 1]);
        assert_eq!(frame(ports.next().await), [20, 2]);

        assert_eq!(ports.send(&Run { tuple, contents: &[1, 2, 3, 4, 5], segment_size: 2 }), 0);
        let mut answer = [0; 11];
        client.read_exact(&mut answer).await.unwrap();
        assert_eq!(answer, [0, 2, 1, 2, 0, 2, 3, 4, 0, 1, 5]);
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test]
async fn a_connection_that_is_not_validated_in_time_is_closed_and_gives_its_place_back() {
    let test = async {
        let strangers = Strangers::default();
        let (mut client, accepted) = connect(&strangers).await;
        let tuple = accepted.tuple;
        let mut ports = TcpPorts::new(TcpLimits { validation: Duration::ZERO, ..TcpLimits::default() });
        ports.add(accepted);
        assert_eq!(frame(ports.next().await), check());
        assert!(matches!(ports.next().await, TcpInput::Closed(closed) if closed == tuple));
        assert_eq!(ports.len(), 0);
        assert!(strangers.is_empty());
        until_closed(&mut client).await;
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test]
async fn a_validated_connection_stays_and_may_send_long_frames() {
    let test = async {
        let strangers = Strangers::default();
        let (mut client, accepted) = connect(&strangers).await;
        let tuple = accepted.tuple;
        let mut ports = TcpPorts::new(TcpLimits { validation: Duration::ZERO, ..TcpLimits::default() });
        ports.add(accepted);
        ports.validated(&tuple);
        assert!(strangers.is_empty());
        assert_eq!(frame(ports.next().await), check());
        let long = vec![9; UNAUTHENTICATED_FRAME_LIMIT + 1];
        client.write_all(&framed(&long)).await.unwrap();
        assert_eq!(frame(ports.next().await), long);
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test]
async fn a_long_frame_of_a_stranger_closes_the_connection() {
    let test = async {
        let (mut client, accepted) = connect(&Strangers::default()).await;
        let mut ports = TcpPorts::new(limits());
        ports.add(accepted);
        assert_eq!(frame(ports.next().await), check());
        client.write_all(&framed(&[9; UNAUTHENTICATED_FRAME_LIMIT + 1])).await.unwrap();
        assert!(matches!(ports.next().await, TcpInput::Closed(_)));
        until_closed(&mut client).await;
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test]
async fn a_forgotten_connection_is_closed_after_its_last_words_and_no_task_stays() {
    let test = async {
        let (mut client, accepted) = connect(&Strangers::default()).await;
        let tuple = accepted.tuple;
        let mut ports = TcpPorts::new(limits());
        ports.add(accepted);
        ports.forgotten(&tuple);
        assert_eq!(ports.len(), 1, "one that is not validated yet is not meant");
        ports.validated(&tuple);
        assert_eq!(ports.send(&Run { tuple, contents: b"goodbye", segment_size: 7 }), 0);
        ports.forgotten(&tuple);
        assert_eq!(ports.send(&Run { tuple, contents: b"too late", segment_size: 8 }), 1);
        ports.finish().await;
        assert!(ports.tasks.is_empty());
        let mut heard = Vec::new();
        client.read_to_end(&mut heard).await.unwrap();
        assert_eq!(heard, framed(b"goodbye"));
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test]
async fn a_client_that_does_not_read_costs_a_bounded_number_of_bytes() {
    let test = async {
        let (_client, accepted) = connect(&Strangers::default()).await;
        let tuple = accepted.tuple;
        let mut ports = TcpPorts::new(TcpLimits { send_queue: 10_000, ..limits() });
        ports.add(accepted);
        // Nothing is written before this task yields.
        let dropped = ports.send(&Run { tuple, contents: &[0; 20_000], segment_size: 1000 });
        assert_eq!(dropped, 20 - 9, "nine frames of 1002 bytes fit");
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test]
async fn connections_beyond_the_limit_are_closed() {
    let test = async {
        let strangers = Strangers::default();
        let mut ports = TcpPorts::new(TcpLimits { connections: 1, ..limits() });
        let (_first, accepted) = connect(&strangers).await;
        ports.add(accepted);
        let (mut second, accepted) = connect(&strangers).await;
        ports.add(accepted);
        assert_eq!(ports.len(), 1);
        until_closed(&mut second).await;
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test]
async fn the_end_of_a_connection_does_not_take_its_successor_away() {
    let test = async {
        let strangers = Strangers::default();
        let mut ports = TcpPorts::new(limits());
        let (first, accepted) = connect(&strangers).await;
        let tuple = accepted.tuple;
        assert_eq!(ports.add(accepted), None);
        assert_eq!(frame(ports.next().await), check());
        let (mut second, mut successor) = connect(&strangers).await;
        // As if the client had used the same port again.
        successor.tuple = tuple;
        drop(first);
        assert_eq!(ports.add(successor), Some(tuple));
        second.write_all(&framed(&[20])).await.unwrap();
        assert_eq!(frame(ports.next().await), check());
        assert_eq!(frame(ports.next().await), [20]);
        assert_eq!(ports.len(), 1);
    };
    LocalSet::new().run_until(test).await;
}

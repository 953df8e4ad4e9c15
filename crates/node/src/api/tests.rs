//! Clients that are slow, on purpose or not, and a node that has not recovered yet. The limit of a
//! wait only ends a test that has already failed.

use super::*;
use polity_types::Height;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

/// A wait that takes this long has failed.
const LIMIT: Duration = Duration::from_secs(30);

/// What clients may take here, unless a test says otherwise.
const NEVER: Duration = Duration::from_hours(1);

/// Long enough for a client that means it.
const SHORT: Duration = Duration::from_millis(300);

/// The pause of a client that sends its bytes one by one.
const DRIP: Duration = Duration::from_millis(20);

const PATIENCE: Patience = Patience {
    head: NEVER,
    body: NEVER,
    answer: NEVER,
    spare: NEVER,
};

struct Server {
    address: SocketAddr,
    gate: Arc<Gate>,
    end: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Server {
    async fn start(patience: Patience, adapt: impl FnOnce(&mut config::Api)) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut config = config::Api {
            listen: address,
            body_bytes_max: 1 << 20,
            requests_max: 2,
            connections_max: 100,
            streams_max: 2,
        };
        adapt(&mut config);
        let gate = Gate::with_patience(&config, Arc::default(), patience);
        let (end, ended) = oneshot::channel();
        let server = serve(listener, Arc::clone(&gate), config, async {
            let _ = ended.await;
        });
        Self {
            address,
            gate,
            end,
            task: tokio::spawn(server),
        }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Sends a text on a connection of its own.
    async fn send(&self, text: &str) -> TcpStream {
        let mut stream = self.connect().await;
        stream.write_all(text.as_bytes()).await.unwrap();
        stream
    }

    /// Status and body of the answer to `GET path` on a fresh connection.
    async fn get(&self, path: &str) -> (u16, String) {
        let request = format!("GET {path} HTTP/1.1\r\nhost: node\r\nconnection: close\r\n\r\n");
        answer(&mut self.send(&request).await).await
    }

    /// Clients that sent half of their body and then nothing.
    async fn stalled_bodies(&self, count: usize) -> Vec<TcpStream> {
        let mut streams = Vec::new();
        for _ in 0..count {
            streams.push(self.send(&half_a_post()).await);
        }
        streams
    }
}

fn half_a_post() -> String {
    let head = "POST /v1/transactions HTTP/1.1\r\nhost: node\r\ncontent-length: 100\r\n\r\n";
    format!("{head}{}", " ".repeat(50))
}

/// Everything until the connection ends.
async fn rest(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    // A connection that is reset has ended, too.
    let _ = timeout(LIMIT, stream.read_to_end(&mut text))
        .await
        .expect("the connection should have ended long ago");
    String::from_utf8(text).unwrap()
}

async fn answer(stream: &mut TcpStream) -> (u16, String) {
    let text = rest(stream).await;
    let (head, body) = text
        .split_once("\r\n\r\n")
        .unwrap_or_else(|| panic!("no answer: {text:?}"));
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, body.to_owned())
}

/// The code of a refusal.
fn code(answer: &(u16, String)) -> String {
    let problem: crate::view::Problem = serde_json::from_str(&answer.1).unwrap();
    problem.code
}

#[tokio::test]
async fn stalled_bodies_take_no_place_of_requests() {
    let server = Server::start(PATIENCE, |_| {}).await;
    let _stalled = server.stalled_bodies(50).await;
    assert_eq!(server.get("/v1/health").await.0, 200);
    for path in ["/v1/ready", "/metrics", "/v1/status"] {
        let found = server.get(path).await;
        // And not that it is busy.
        assert_eq!(
            (found.0, code(&found).as_str()),
            (503, "not_ready"),
            "{path}"
        );
    }
}

#[tokio::test]
async fn probes_are_answered_when_no_place_is_left() {
    let server = Server::start(PATIENCE, |_| {}).await;
    let _requests = server.gate.requests.acquire_many(2).await.unwrap();
    let _waits = server.gate.waits.acquire_many(2).await.unwrap();
    for path in ["/v1/status", "/v1/transactions/00", "/v1/locks/00/proof"] {
        assert_eq!(code(&server.get(path).await), "busy", "{path}");
    }
    assert_eq!(server.gate.meters.requests_shed.read(), 3);
    assert_eq!(server.get("/v1/health").await.0, 200);
    for path in ["/v1/ready", "/metrics"] {
        assert_eq!(code(&server.get(path).await), "not_ready", "{path}");
    }
}

#[tokio::test]
async fn waiting_and_asking_have_places_of_their_own() {
    let server = Server::start(PATIENCE, |_| {}).await;
    let asking = ["/v1/status", "/v1/accounts/a@b", "/v1/transactions/00"];
    let waiting = [
        "/v1/transactions/00?wait_ms=60000",
        "/v1/transactions/00?wait%5Fms=60000",
        "/v1/accounts/a@b/proof",
        "/v1/locks/00/proof",
    ];
    let waits = server.gate.waits.acquire_many(2).await.unwrap();
    for path in waiting {
        assert_eq!(code(&server.get(path).await), "busy", "{path}");
    }
    for path in asking {
        assert_ne!(code(&server.get(path).await), "busy", "{path}");
    }
    drop(waits);
    let _requests = server.gate.requests.acquire_many(2).await.unwrap();
    for path in waiting {
        assert_ne!(code(&server.get(path).await), "busy", "{path}");
    }
    for path in asking {
        assert_eq!(code(&server.get(path).await), "busy", "{path}");
    }
}

#[tokio::test]
async fn a_body_that_drips_is_cut() {
    let patience = Patience {
        body: SHORT,
        ..PATIENCE
    };
    let server = Server::start(patience, |_| {}).await;
    let stream = server.send(&half_a_post()).await;
    let (mut reads, mut writes) = stream.into_split();
    let drip = async {
        while writes.write_all(b" ").await.is_ok() {
            sleep(DRIP).await;
        }
    };
    let mut text = vec![0; 1_000];
    let length = tokio::select! {
        length = timeout(LIMIT, reads.read(&mut text)) => length.unwrap().unwrap(),
        () = drip => panic!("cut without an answer"),
    };
    let text = String::from_utf8_lossy(&text[..length]);
    assert!(text.starts_with("HTTP/1.1 408 "), "{text}");
    assert!(text.contains("\"body_too_slow\""), "{text}");
}

#[tokio::test]
async fn a_head_that_drips_is_cut_and_so_is_an_idle_connection() {
    let patience = Patience {
        head: SHORT,
        ..PATIENCE
    };
    let server = Server::start(patience, |config| config.connections_max = 1).await;
    let mut drips = server.send("GET /v1/status HTTP/1.1\r\n").await;
    let drip = async {
        while drips.write_all(b"a: b\r\n").await.is_ok() {
            sleep(DRIP).await;
        }
    };
    timeout(LIMIT, drip).await.unwrap();
    // One that never says a word, and one that had an answer.
    rest(&mut server.connect().await).await;
    let request = "GET /v1/health HTTP/1.1\r\nhost: node\r\n\r\n";
    let text = rest(&mut server.send(request).await).await;
    assert!(text.starts_with("HTTP/1.1 200 "), "{text}");
}

#[tokio::test]
async fn connections_beyond_the_bound_learn_how_the_node_is_and_no_more() {
    let patience = Patience {
        spare: SHORT,
        ..PATIENCE
    };
    let server = Server::start(patience, |config| config.connections_max = 3).await;
    let full = server.stalled_bodies(3).await;
    // More than there are spare places, and all of them silent.
    let mut silent = Vec::new();
    for _ in 0..50 {
        silent.push(server.connect().await);
    }
    let request = "GET /v1/health HTTP/1.1\r\nhost: node\r\n\r\n";
    let text = rest(&mut server.send(request).await).await;
    assert!(text.starts_with("HTTP/1.1 200 "), "{text}");
    for path in ["/v1/ready", "/metrics"] {
        assert_eq!(code(&server.get(path).await), "not_ready", "{path}");
    }
    for path in ["/v1/status", "/v1/nothing"] {
        let found = server.get(path).await;
        assert_eq!((found.0, code(&found).as_str()), (503, "busy"), "{path}");
    }
    drop(full);
    timeout(LIMIT, async {
        while code(&server.get("/v1/status").await) == "busy" {
            sleep(DRIP).await;
        }
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn an_answer_that_nobody_takes_is_cut() {
    let patience = Patience {
        answer: SHORT,
        ..PATIENCE
    };
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (started, mut starts) = mpsc::unbounded_channel();
    let large = Router::new().fallback(move || async move {
        started.send(()).unwrap();
        vec![0_u8; 64 << 20]
    });
    let [full, spare] = [large, Router::new()];
    let never = std::future::pending();
    tokio::spawn(server::serve_routers(
        listener,
        [full, spare],
        1,
        patience,
        never,
    ));
    let ask = async || {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = b"GET / HTTP/1.1\r\nhost: node\r\n\r\n";
        stream.write_all(request).await.unwrap();
        stream
    };
    let mut stalled = ask().await;
    timeout(LIMIT, starts.recv()).await.unwrap();
    // The only place becomes free, though this client asks for more and takes nothing.
    timeout(LIMIT, async {
        loop {
            let _ = stalled.write_all(b"GET / HTTP/1.1\r\n\r\n").await;
            let _next = ask().await;
            if timeout(DRIP, starts.recv()).await.is_ok() {
                break;
            }
        }
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn the_end_waits_for_answers_and_not_for_idle_clients() {
    let server = Server::start(PATIENCE, |_| {}).await;
    let _idle = server.connect().await;
    let mut busy = server.stalled_bodies(1).await;
    assert_eq!(server.get("/v1/health").await.0, 200);
    server.end.send(()).unwrap();
    busy[0].write_all(" ".repeat(50).as_bytes()).await.unwrap();
    assert_eq!(answer(&mut busy[0]).await.0, 503);
    timeout(LIMIT, server.task).await.unwrap().unwrap();
}

/// A snapshot that is installed ends every stream of blocks, and the node goes on: so does who waits for a
/// proof.
#[tokio::test]
async fn a_proof_outlives_a_snapshot_that_is_installed() {
    let hub = Hub::default();
    let committed = Arc::new(crate::hub::tests::block());
    let before = Height::ZERO;
    let asked = std::cell::Cell::new(0);
    let ask = || async {
        asked.set(asked.get() + 1);
        // What comes while it waits: a snapshot twice, and then the block.
        match asked.get() {
            1 | 2 => hub.close(),
            _ => hub.publish(&committed),
        }
        Ok(Some((asked.get(), before, None)))
    };
    let answer = timeout(LIMIT, queries::wait_named(&hub, ask)).await;
    let (finality, proven) = answer.unwrap().unwrap().unwrap();
    assert_eq!(finality.header, *committed.block.header());
    assert_eq!(proven, 3, "proven under the state that the block names");
    // Where the node stops, asking says so.
    let asked = std::cell::Cell::new(false);
    let ask = || async {
        hub.close();
        if asked.replace(true) {
            return Err(ApiError::stopping());
        }
        Ok(Some(((), before, None)))
    };
    let answer = timeout(LIMIT, queries::wait_named(&hub, ask)).await;
    assert!(answer.unwrap().is_err());
}

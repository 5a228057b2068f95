//! The floor does the job that it is the floor of: each client gets those who are near, and nobody else.

use futures_util::{SinkExt, StreamExt};
use nearcast_loadtest::floor::{self, RECORD_BYTES, Reads, UNITS_PER_M};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

type Client = WebSocketStream<MaybeTlsStream<tokio::net::TcpStream>>;

async fn next(client: &mut Client) -> Vec<u8> {
    client.next().await.expect("it is open").expect("it is read").into_data().to_vec()
}

#[tokio::test]
async fn each_is_told_who_is_near() {
    told_who_is_near(Reads::OnceATick).await;
    told_who_is_near(Reads::PerMessage).await;
}

async fn told_who_is_near(reads: Reads) {
    let listener = floor::listen("127.0.0.1:0".parse().expect("an address")).expect("a free port");
    let addr = listener.local_addr().expect("bound");
    std::thread::spawn(move || floor::serve(&listener, reads));
    let mut clients = Vec::new();
    for x_m in [0.0, 49.0, 99.5] {
        let (mut client, _) = connect_async(format!("ws://{addr}")).await.expect("it opens");
        let number = next(&mut client).await;
        let x = ((x_m * UNITS_PER_M) as i16).to_le_bytes();
        let said = vec![x[0], x[1], 1, 0, 2, 0, 3, 0];
        client.send(Message::binary(said.clone())).await.expect("it takes it");
        clients.push((client, [number, said].concat()));
    }
    let records: Vec<Vec<u8>> = clients.iter().map(|(_, record)| record.clone()).collect();
    assert!(records.iter().all(|record| record.len() == RECORD_BYTES));
    for (at, near) in [(0, &records[1]), (1, &records[0]), (2, &Vec::new())] {
        // Until all three are known, fewer are told of.
        while next(&mut clients[at].0).await != *near {}
    }
}

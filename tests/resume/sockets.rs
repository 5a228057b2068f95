//! The same over real sockets, with one gateway or two, and one that is killed and started again.

use nearcast::codec::Encoding;

use super::*;
use support::{Client, gateway, within};

async fn resume(gateway: &nearcast::edge::Gateway, resume: Resume) -> (Client, Welcome) {
    let hello = Hello { resume: Some(resume), profile: Some("Bob".into()), ..Hello::default() };
    Client::hello_at(gateway.listen, Encoding::MessagePack, hello).await
}

#[tokio::test]
async fn a_dropped_socket_is_resumed() {
    let gateway = gateway("").await;
    let (mut ann, _) = Client::join(&gateway, Encoding::Json, "Ann").await;
    let (mut bob, first) = Client::join(&gateway, Encoding::MessagePack, "Bob").await;
    ann.walk(0.0, 0.0).await;
    bob.walk(5.0, 0.0).await;
    ann.see("Bob", |m| m.find(first.entity).is_some()).await;
    bob.see("Ann", |m| !m.is_empty()).await;
    let is_it = |out: &Out| matches!(out, Out::Cursor(cursor) if cursor.stream == "partition/0").then_some(());
    bob.hear("how far he is told", is_it).await;
    let heard = bob.heard.clone();
    drop(bob);
    ann.act(1, Scope::Nearby, 0.0, 0.0).await;
    ann.hear("ack", |out| matches!(out, Out::Ack(_)).then_some(())).await;
    let (mut bob, second) = resume(&gateway, Resume { cursors: cursors(&heard), ..token(&first) }).await;
    assert_eq!((second.session, second.entity, second.resumed), (first.session, first.entity, true));
    let event =
        bob.hear("what he missed", |out| if let Out::Event(event) = out { Some(event.clone()) } else { None }).await;
    assert_eq!(event.name, "wave");
    bob.walk(5.5, 0.0).await;
    ann.see("Bob goes on", |m| m.find(first.entity).is_some_and(|bob| bob.pos.x == 550)).await;
    bob.act(1, Scope::Nearby, 5.5, 0.0).await;
    bob.hear("an answer at the new connection", |out| matches!(out, Out::Ack(_)).then_some(())).await;
    gateway.drain().await;
}

#[tokio::test]
async fn a_connection_that_is_replaced_is_closed_with_a_reason() {
    let gateway = gateway("").await;
    let (mut old, first) = Client::join(&gateway, Encoding::Json, "Bob").await;
    old.walk(0.0, 0.0).await;
    let (mut new, second) = resume(&gateway, token(&first)).await;
    assert!(second.resumed);
    let bye = old.bye().await;
    assert_eq!((bye.code, bye.again), (4504, false));
    assert_eq!(old.close_code().await, Some(4504));
    new.walk(0.5, 0.0).await;
    // The first may come as two; the next is an empty one, a second later.
    new.see("three states", |m| m.number() >= 3).await;
    // The new token has arrived, and the log knows: the old one is worth nothing.
    assert!(!resume(&gateway, token(&first)).await.1.resumed);
    new.walk(1.0, 0.0).await;
    new.see("more states", |m| m.number() >= 5).await;
    gateway.drain().await;
}

#[tokio::test]
async fn a_drained_session_is_told_to_come_back_and_a_token_is_not_shown_by_metrics() {
    let gateway = gateway("").await;
    let (mut bob, first) = Client::join(&gateway, Encoding::Json, "Bob").await;
    bob.walk(0.0, 0.0).await;
    let (_, metrics) = support::get(gateway.admin, "/metrics").await;
    assert!(metrics.contains("nearcast_openings_total{how=\"new\"}"));
    assert!(!metrics.contains(&first.token.expect("one")));
    let draining = tokio::spawn(gateway.drain());
    let bye = bob.bye().await;
    assert_eq!((bye.code, bye.again), (4000, true));
    within("the drain", draining).await.expect("no panic");
}

//! The operators' page: who is where, and why somebody sees somebody else, or not. It asks the drivers, which answer between
//! two ticks; its page is built into this program like that for people, `page`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::http::Shared;
use super::line::{Command, Line, Question};
use crate::codec::message::Id;
use crate::limits::TICK_US;
use crate::session::account::{Account, Regard};

/// A driver that has not answered within this has too much to do: the others' answers are shown.
const ANSWERED_WITHIN: Duration = Duration::from_millis(500);

/// What there is in one world, as this gateway knows it.
#[derive(Debug, Serialize)]
struct Overview {
    world: String,
    tick: u64,
    tick_ms: f64,
    /// Avatars by region: x, z, how many; those of other gateways too.
    regions: Vec<(i32, i32, usize)>,
    /// Sessions of this gateway.
    sessions: Vec<Account>,
    /// Profiles of their avatars.
    profiles: BTreeMap<Id, String>,
    /// Drivers that did not answer in time.
    silent: usize,
}

/// Asks a driver. `None`: it has no room for the question, or did not answer in time.
async fn ask<T>(driver: &Line, question: Question, answer: oneshot::Receiver<T>) -> Option<T> {
    driver.tell(Command::Ask(question)).ok()?;
    tokio::time::timeout(ANSWERED_WITHIN, answer).await.ok()?.ok()
}

/// All worlds.
pub async fn overview(State(shared): State<Arc<Shared>>) -> Response {
    let mut worlds = Vec::new();
    for (hall, of) in shared.halls.iter().enumerate() {
        let (mut sessions, mut silent) = (Vec::new(), 0);
        for driver in &shared.drivers {
            let (reply, answer) = oneshot::channel();
            match ask(driver, Question::Accounts { hall, reply }, answer).await {
                Some(accounts) => sessions.extend(accounts),
                None => silent += 1,
            }
        }
        sessions.sort_by_key(|account| account.session);
        let tick = of.ticks.borrow().clone();
        let regions = tick.cells.iter().map(|cell| (cell.region.x, cell.region.z, cell.range().len())).collect();
        let own: BTreeSet<Id> = sessions.iter().map(|account| account.entity).collect();
        let shown = tick.spots.iter().zip(&tick.entities).filter(|(spot, _)| own.contains(&spot.id));
        let profiles = shown.map(|(spot, entity)| (spot.id, entity.profile.to_string())).collect();
        let world = of.settings.name.clone();
        worlds.push(Overview {
            world,
            tick: tick.number,
            tick_ms: TICK_US as f64 / 1e3,
            regions,
            sessions,
            profiles,
            silent,
        });
    }
    Json(worlds).into_response()
}

/// Which two.
#[derive(Debug, Deserialize)]
pub struct Pair {
    world: String,
    /// The avatar of whose session it is about.
    viewer: Id,
    /// The avatar that it may see.
    entity: Id,
}

/// Can one see the other, and why, or why not?
pub async fn regard(State(shared): State<Arc<Shared>>, Query(pair): Query<Pair>) -> Response {
    let Some(hall) = shared.halls.iter().position(|hall| hall.settings.name == pair.world) else {
        return (StatusCode::NOT_FOUND, "no such world on this gateway\n").into_response();
    };
    let Pair { viewer, entity, .. } = pair;
    let mut silent = 0;
    for driver in &shared.drivers {
        let (reply, answer) = oneshot::channel();
        match ask(driver, Question::Regard { hall, viewer, entity, reply }, answer).await {
            Some(Some(regard)) => return Json::<Regard>(regard).into_response(),
            Some(None) => {}
            None => silent += 1,
        }
    }
    if silent > 0 {
        return (StatusCode::SERVICE_UNAVAILABLE, "a driver has too much to do to answer; ask again\n").into_response();
    }
    (StatusCode::NOT_FOUND, "the viewer has no session on this gateway\n").into_response()
}

//! Who is there: lets all participants join in turn, lets some leave and come back, and lets all leave in the end.

use super::fleet::Fleet;
use super::http::{self, Endpoints};
use super::plan::Seat;
use super::rooms::{self, Rooms};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// How participants reach the server.
#[derive(Clone, Debug)]
pub(crate) enum Protocol {
    Rooms(Rooms),
    Http(Endpoints),
}

impl Protocol {
    /// How many joins a seat comes to.
    pub(crate) fn joins(&self, seat: &Seat) -> u64 {
        match self {
            Protocol::Rooms(_) => 1,
            Protocol::Http(endpoints) => http::connections(endpoints, seat).len() as u64,
        }
    }

    async fn attend(self, fleet: Arc<Fleet>, seat: Seat, leave: watch::Receiver<bool>) {
        match &self {
            Protocol::Rooms(rooms) => rooms::attend(rooms, &fleet, &seat, leave).await,
            Protocol::Http(endpoints) => http::attend(endpoints, &fleet, &seat, leave).await,
        }
    }
}

/// Per second; who comes and goes less often does not within any run.
const LEAST_CHURN: f64 = 1e-6;

/// Runs until `stop`, and until all have left. `churn` watchers per second leave, and join again at once.
pub(crate) async fn attend_all(
    protocol: Protocol,
    fleet: Arc<Fleet>,
    seats: Vec<Seat>,
    churn: f64,
    mut stop: watch::Receiver<bool>,
) {
    let mut present = JoinSet::new();
    let last = seats.iter().map(|seat| seat.joins).max().unwrap_or_default();
    let mut enter = |seat: &Seat, after: Duration| {
        let (leave, leaves) = watch::channel(false);
        let (protocol, fleet, seat) = (protocol.clone(), fleet.clone(), seat.clone());
        present.spawn(async move {
            tokio::time::sleep(after).await;
            protocol.attend(fleet, seat, leaves).await;
        });
        leave
    };
    let mut doors: Vec<_> = seats.iter().map(|seat| enter(seat, seat.joins)).collect();
    let watchers: Vec<usize> = (0..seats.len()).filter(|place| seats[*place].only_watches()).collect();
    let come_and_go = async {
        if churn <= 0.0 || watchers.is_empty() {
            return std::future::pending::<()>().await;
        }
        tokio::time::sleep(last).await;
        let mut ticks = tokio::time::interval(Duration::from_secs_f64(1.0 / churn.max(LEAST_CHURN)));
        for place in watchers.iter().cycle() {
            ticks.tick().await;
            doors[*place].send_replace(true);
            doors[*place] = enter(&seats[*place], Duration::ZERO);
        }
    };
    tokio::select! {
        _ = stop.wait_for(|stop| *stop) => {}
        () = come_and_go => {}
    }
    doors.iter().for_each(|door| {
        door.send_replace(true);
    });
    while present.join_next().await.is_some() {}
}

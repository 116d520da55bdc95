//! WHEP: playing by HTTP.

use crate::harness::participant::{Participant, Plan};
use crate::harness::payload::Kind::{Audio, Video};
use crate::harness::server::Server;
use crate::harness::whip::Http;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_player_of_a_room_receives_everybody_its_slots_have_place_for_unseen() {
    let server = Server::start(&[]).await;
    let ada = Participant::join(&server, "room", "Ada", Plan::TALK).await;
    let encoder = Http::publish(&server, "room", "Encoder").await;
    let player = Http::play(&server, "/whep/room", &[Audio, Audio, Video, Video]).await;
    for name in ["Ada", "Encoder"] {
        for kind in [Audio, Video] {
            player.media.receives_more(name, kind, 10).await;
        }
    }
    for role in ["member", "publisher", "hidden"] {
        assert_eq!(server.metric("sluice_participants", &[("role", role)]).await, 1.0, "{role}");
    }
    assert_eq!(player.delete(&server).await.status, 200);
    server.metric_reaches("sluice_participants", &[("role", "hidden")], |n| n == 0.0).await;
    assert_eq!(server.metric("sluice_participants", &[]).await, 2.0);
    drop(encoder);
    // Ada was told of the encoder and of nobody else.
    let told = ada.signaling.count("participant-joined") + ada.signaling.count("participant-left");
    assert_eq!(told, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_player_of_one_participant_may_come_first_and_follows_it_to_its_next_session() {
    let server = Server::start(&[]).await;
    let player = Http::play(&server, "/whep/room/Encoder", &[Audio, Video]).await;
    let _ada = Participant::join(&server, "room", "Ada", Plan::TALK).await;
    let first = Http::publish(&server, "room", "Encoder").await;
    for kind in [Audio, Video] {
        player.media.receives_more("Encoder", kind, 10).await;
    }
    // A second session of that name while the first still sends: the newer one is played.
    let second = Http::publish(&server, "room", "Encoder").await;
    server.metric_reaches("sluice_subscriptions", &[("state", "active")], |n| n >= 2.0).await;
    first.delete(&server).await;
    for kind in [Audio, Video] {
        player.media.receives_more("Encoder", kind, 10).await;
    }
    drop(second);
    assert_eq!(player.media.received().publishers().into_iter().collect::<Vec<_>>(), ["Encoder"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_player_may_name_a_participant_or_a_track_by_its_id() {
    let server = Server::start(&[]).await;
    let ada = Participant::join(&server, "room", "Ada", Plan::TALK).await;
    let grace = Participant::join(&server, "room", "Grace", Plan::TALK).await;
    let of_ada = Http::play(&server, &format!("/whep/room/{}", ada.id), &[Audio, Audio, Video, Video]).await;
    let of_grace = Http::play(&server, &format!("/whep/room/{}", grace.track(Video)), &[Audio, Video]).await;
    for kind in [Audio, Video] {
        of_ada.media.receives_more("Ada", kind, 10).await;
    }
    of_grace.media.receives_more("Grace", Video, 10).await;
    assert_eq!(of_ada.media.received().publishers().len(), 1);
    let of_grace = of_grace.media.received();
    assert_eq!((of_grace.publishers().len(), of_grace.count("Grace", Audio)), (1, 0));
}

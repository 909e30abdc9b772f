//! A far end that offers more than audio: what is refused keeps its place (RFC 3264 §8).
#![expect(clippy::float_cmp, reason = "counts are exact")]

use callmeter_engine::{Action, Assign, Role, Scenario, Step, When};
use callmeter_metrics::id;

use crate::common::{World, secs};
use crate::{SDP, last, remotes, reply, request, tag_of_ours};

const VIDEO: &str = "m=video 5000 RTP/AVP 96\na=rtpmap:96 VP8/90000\n";

/// The `m=` lines of a message: media and whether it is refused.
fn streams(text: &str) -> Vec<(&str, bool)> {
    let lines = text.lines().filter_map(|line| line.strip_prefix("m="));
    lines
        .map(|line| {
            let mut words = line.split(' ');
            let media = words.next().unwrap_or_default();
            (media, words.next() == Some("0"))
        })
        .collect()
}

/// A video phone that calls an endpoint, which holds it.
#[test]
fn a_hold_repeats_the_streams_that_are_refused() {
    let audio = SDP.find("m=audio").map(|at| SDP.split_at(at));
    let (session, audio) = audio.unwrap_or_default();
    let before = format!("{session}{VIDEO}{audio}");
    let after = format!("{SDP}{VIDEO}");
    let (refused, ours) = (("video", true), ("audio", false));
    for (offer, wanted) in [(before, [refused, ours]), (after, [ours, refused])] {
        let mut world = World::new(1, 41);
        let hold = Step {
            when: When::At(secs(1)),
            action: Action::Hold,
        };
        let plan = Assign {
            scenario: Scenario::new(vec![hold]).unwrap(),
            ..world.plan(0, 1, Role::Callee, 1)
        };
        world.assign(0, plan);
        world.start(0, 1, &[]);
        request(&mut world, "INVITE", 1, "", &offer);
        world.run_for(secs(1));
        assert_eq!(streams(&last(&world)), wanted);
        let tag = tag_of_ours(&world);
        request(&mut world, "ACK", 1, &tag, "");
        world.run_until("the hold", secs(5), |world| {
            last(world).contains("a=sendonly")
        });
        let hold = last(&world);
        assert_eq!(streams(&hold), wanted);
        let moved = offer
            .replace("1 1 IN", "1 2 IN")
            .replace("video 5000", "video 0")
            .replace("audio 4000", "audio 4002")
            .replace("a=ptime:20\n", "a=ptime:20\na=recvonly\n");
        reply(&mut world, &hold, "200 OK", "", &moved);
        assert_eq!(remotes(&world).last().map(|(port, _)| *port), Some(4002));
        request(&mut world, "BYE", 2, &tag, "");
        world.run_until_ended(secs(90));
        let site = &world.sites[0];
        assert_eq!(site.sum(1, id::SCENARIO_ACTIONS_EXECUTED), 1.0);
        assert_eq!(site.sum(1, id::SCENARIO_ACTIONS_FAILED), 0.0);
    }
}

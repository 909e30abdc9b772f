//! Hold and resume, of one side and of both.

use callmeter_engine::{Action, Outcome, Phase, RowDirection, Step, When};
use callmeter_metrics::id;

use crate::common::{World, ms, secs};
use crate::{at, count, scripted, sending, steps};

/// Hold stops what the far end sends, resume starts it again; both ends count, the delays are the
/// link's, and the phases of the call go nowhere else.
#[test]
fn hold_and_resume() {
    use Phase::{Calling, Closed, Disconnecting, InCall, Negotiating, Ringing};
    let mut world = scripted(1, vec![at(2, Action::Hold), at(6, Action::Resume)], vec![]);
    world.run_until_ended(secs(90));
    assert_eq!(steps(&world, 0), [(2.0, 0.0), (0.0, 0.0)]);
    assert_eq!(sending(&world, 1), [true, false, true]);
    assert_eq!(
        sending(&world, 0),
        [true, true, true],
        "sendonly still sends"
    );
    for (metric, expected) in [
        (id::HOLD_COUNT, (1.0, 1.0)),
        (id::REINVITE_COUNT, (2.0, 2.0)),
    ] {
        let sent = count(&world, 0, RowDirection::Send, metric);
        let received = count(&world, 1, RowDirection::Recv, metric);
        assert_eq!((sent, received), expected, "{metric}");
        assert_eq!(count(&world, 0, RowDirection::Recv, metric), 0.0);
        assert_eq!(count(&world, 1, RowDirection::Send, metric), 0.0);
    }
    let [caller, callee] = &world.sites[..] else {
        unreachable!()
    };
    for metric in [id::HOLD_DELAY_MS, id::RESUME_DELAY_MS] {
        let delay = caller.values(1, metric);
        assert!(
            delay.len() == 1 && (delay[0] - 10.0).abs() < 1.0,
            "{delay:?}"
        );
        assert_eq!(callee.values(1, metric), []);
    }
    // The callee was silent for 4 of 20 s.
    let sent = callee.sum(1, id::PACKETS_SENT);
    assert!((sent - 800.0).abs() < 15.0, "{sent}");
    assert_eq!(caller.sum(1, id::PACKETS_RECEIVED), sent);
    for site in &world.sites {
        assert_eq!(site.totals(1).calls, [(Outcome::Success, 1)]);
        site.assert_rows_add_up(1);
    }
    assert_eq!(
        caller.phases(1, 0, 1),
        [Calling, Ringing, Negotiating, InCall, Disconnecting, Closed]
    );
    // The offers: sendonly, then sendrecv, each with the next version of one session.
    let offers: Vec<_> = world
        .raw
        .iter()
        .filter(|(_, text)| text.starts_with("INVITE"))
        .map(|(_, text)| {
            let origin = text.lines().find(|line| line.starts_with("o=")).unwrap();
            let version = origin.split(' ').nth(2).unwrap().to_owned();
            (version, text.contains("a=sendonly"))
        })
        .collect();
    let expected = [("0", false), ("1", true), ("2", false)].map(|(v, d)| (v.to_owned(), d));
    assert_eq!(offers, expected);
}

/// Both hold at about the same moment: one waits for the other, or the offers cross and are made
/// again (RFC 3261 §14.1), from the session as it is then (RFC 3264 §8.4); both hold in the end.
/// Versions grow by one, refused offers included (§8).
#[test]
fn holds_that_meet_are_both_executed() {
    let caller = ["sendrecv", "sendonly", "recvonly", "inactive"];
    let callee = ["sendrecv", "sendonly", "sendonly", "inactive"];
    meet(1998, true, [&caller, &callee]);
    let caller = ["sendrecv", "sendonly", "inactive"];
    let callee = ["sendrecv", "recvonly", "inactive"];
    meet(2000, false, [&caller, &callee]);
}

/// The version and direction of every description a site sent, in order.
fn described(world: &World, site: usize) -> Vec<(usize, String)> {
    let far_end = world.sites[1 - site].ip;
    let sent = world.raw.iter().filter(|(to, _)| to.ip() == far_end);
    sent.filter_map(|(_, text)| {
        let origin = text.lines().find(|line| line.starts_with("o="))?;
        let version = origin.split(' ').nth(2)?.parse().ok()?;
        let direction = text.lines().next_back()?.strip_prefix("a=")?;
        Some((version, direction.to_owned()))
    })
    .collect()
}

fn meet(callees_ms: u64, crosses: bool, directions: [&[&str]; 2]) {
    let callee = Step {
        when: When::At(ms(callees_ms)),
        action: Action::Hold,
    };
    let mut world = scripted(6, vec![at(2, Action::Hold)], vec![callee]);
    world.run_until_ended(secs(90));
    for (site, directions) in directions.into_iter().enumerate() {
        assert_eq!(steps(&world, site), [(1.0, 0.0), (0.0, 0.0)], "site {site}");
        let delay = world.sites[site].values(1, id::HOLD_DELAY_MS);
        assert_eq!(delay.len(), 1);
        let expected: Vec<_> = directions
            .iter()
            .map(ToString::to_string)
            .enumerate()
            .collect();
        assert_eq!(described(&world, site), expected, "site {site}");
        let made = count(&world, site, RowDirection::Send, id::REINVITE_COUNT);
        assert_eq!(made, 1.0, "the same offer");
    }
    let glare = |line: &str| line.starts_with("SIP/2.0 491");
    assert_eq!(world.wire.iter().any(|(.., line)| glare(line)), crosses);
    assert_eq!(sending(&world, 0).last(), Some(&false), "both are held");
    assert_eq!(sending(&world, 1).last(), Some(&false));
}

/// Who holds a party that holds it already offers that nobody sends (RFC 3264 §8.4); alone, that
/// it sends only.
#[test]
fn a_hold_of_who_holds_offers_inactive() {
    let offers = |world: &World, direction: &str| {
        let offer = |text: &String| text.starts_with("INVITE") && text.contains(direction);
        world.raw.iter().filter(|(_, text)| offer(text)).count()
    };
    let hold = || vec![at(4, Action::Hold)];
    let mut world = scripted(9, vec![at(2, Action::Hold)], hold());
    world.run_until_ended(secs(90));
    let found = ["a=sendonly", "a=inactive"].map(|direction| offers(&world, direction));
    assert_eq!(found, [1, 1]);
    let mut world = scripted(9, vec![], hold());
    world.run_until_ended(secs(90));
    let found = ["a=sendonly", "a=inactive"].map(|direction| offers(&world, direction));
    assert_eq!(found, [1, 0]);
}

//! A group that dials itself: its endpoints take turns at calling and are called meanwhile.

use callmeter_engine::{Load, Outcome, Role};

use crate::common::{World, ms, secs};
use crate::{assert_nothing_is_left, most_at_once, order};

/// A group that dials itself, each endpoint the next one, half of them at a time: nobody calls who
/// is in a call.
#[test]
fn who_is_called_calls_after_that_call() {
    let mut world = World::new(1, 16);
    let mut both = world.plan(0, 1, Role::Both, 6);
    both.load = Load::AtOnce(3);
    both.call.repeat = true;
    both.call.duration = secs(2);
    world.assign(0, both);
    let mut peers = world.sites[0].contacts(1);
    peers.rotate_left(1);
    world.start(0, 1, &peers);
    world.run_until_ended(secs(90));
    let [(outcome, ends)] = world.sites[0].totals(1).calls[..] else {
        panic!("{:?}", world.sites[0].calls(1));
    };
    assert_eq!(outcome, Outcome::Success);
    assert!(
        ends > 100,
        "{ends}: nearly three calls of two ends at a time"
    );
    assert_eq!(most_at_once(&world), 3);
    for endpoint in 0..6 {
        assert!(order(&world).contains(&endpoint), "{endpoint} calls too");
    }
    assert_nothing_is_left(&mut world);
}

/// Who is called when its turn comes, and was not reached at first or is in that call still, keeps
/// its place: though messages are lost, nobody calls less than half as often as another.
#[test]
fn who_is_called_keeps_its_place() {
    for seed in 1..=4 {
        let mut world = World::new(1, seed);
        world.loss = 0.02;
        let mut both = world.plan(0, 1, Role::Both, 4);
        both.load = Load::AtOnce(2);
        both.call.repeat = true;
        both.call.pause = ms(500);
        both.duration = secs(600);
        world.assign(0, both);
        let mut peers = world.sites[0].contacts(1);
        peers.rotate_left(1);
        world.start(0, 1, &peers);
        world.run_until_ended(secs(900));
        let order = order(&world);
        let of = |own: u32| order.iter().filter(|index| **index == own).count();
        let counts = [0, 1, 2, 3].map(of);
        let (least, most) = (counts.iter().min(), counts.iter().max());
        assert!(least.map(|least| least * 2) > most.copied(), "{counts:?}");
    }
}

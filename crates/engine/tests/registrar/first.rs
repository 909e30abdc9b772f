//! Calls that come before the first registration is answered.

use callmeter_engine::{Action, Outcome, Role, Scenario, Step, When};

use crate::common::{ms, secs};
use crate::{registering, with_proxy};

/// Who is refused meanwhile takes no more: it is done when that call is over, not at the end of the
/// run.
#[test]
fn who_is_refused_in_a_call_is_done_after_it() {
    let mut world = with_proxy(31);
    let mut proxy = world.proxy.take().unwrap();
    proxy.banned.push("bob".to_owned());
    let callee = registering(&world, 1, Role::Callee, &["bob"]);
    world.assign(1, callee);
    let mut caller = world.plan(0, 1, Role::Caller, 1);
    caller.start_offsets = vec![ms(100)];
    caller.call.duration = secs(2);
    world.assign(0, caller);
    world.start(0, 1, &["sip:bob@192.0.2.2:5061".to_owned()]);
    world.run_for(ms(200));
    world.proxy = Some(proxy);
    world.run_until("bob to end", secs(10), |world| {
        !world.sites[1].ended.is_empty()
    });
    let callee = &world.sites[1];
    let outcome = callee.endpoints(1)[&0];
    assert_eq!(outcome, Some(Outcome::RegistrationFailed));
    assert_eq!(callee.totals(1).calls, [(Outcome::Success, 1)]);
}

/// Who asks again in that call is not done with it before that is answered, and leaves nothing behind.
#[test]
fn who_is_refused_and_asks_again_in_a_call_leaves_no_binding() {
    let mut world = with_proxy(31);
    let mut proxy = world.proxy.take().unwrap();
    proxy.banned.push("bob".to_owned());
    let mut callee = registering(&world, 1, Role::Callee, &["bob"]);
    let again = Step {
        when: When::At(secs(6)),
        action: Action::ReRegister,
    };
    callee.scenario = Scenario::new(vec![again]).unwrap();
    world.assign(1, callee);
    let mut caller = world.plan(0, 1, Role::Caller, 1);
    caller.start_offsets = vec![ms(100)];
    caller.call.duration = secs(8);
    world.assign(0, caller);
    world.start(0, 1, &["sip:bob@192.0.2.2:5061".to_owned()]);
    world.run_for(ms(200));
    world.proxy = Some(proxy);
    world.run_for(secs(5));
    let mut proxy = world.proxy.take().unwrap();
    proxy.banned.clear();
    world.run_until("the call to end", secs(10), |world| {
        world.sites[1].calls(1).len() == 1
    });
    assert_eq!(world.sites[1].endpoints(1).get(&0), None, "not ended");
    world.proxy = Some(proxy);
    world.run_until("bob to end", secs(60), |world| {
        !world.sites[1].ended.is_empty()
    });
    let callee = &world.sites[1];
    let outcome = callee.endpoints(1)[&0];
    assert_eq!(outcome, Some(Outcome::RegistrationFailed));
    assert!(!world.proxy.as_ref().unwrap().bindings.contains_key("bob"));
}

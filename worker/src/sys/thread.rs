//! Scheduling of the calling thread.

use std::io;
use std::num::NonZeroU64;

/// Lets timers of the calling thread fire when due: slack of 1 ns instead of 50 µs.
pub fn exact_timers() -> io::Result<()> {
    Ok(rustix::thread::set_current_timer_slack(NonZeroU64::new(1))?)
}

/// Asks for `SCHED_FIFO` with the lowest real-time priority for the calling thread. Needs
/// `CAP_SYS_NICE`; without it the thread stays as it is.
pub fn real_time() -> io::Result<()> {
    let parameters = libc::sched_param { sched_priority: 1 };
    // No wrapper exists. The call reads the struct, which lives until it returns, and changes
    // nothing but the scheduling of the calling thread (0).
    #[expect(unsafe_code, reason = "sched_setscheduler has no safe wrapper")]
    let done = unsafe {
        libc::sched_setscheduler(
            0,
            libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK,
            &raw const parameters,
        )
    };
    if done == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Lets threads that must be punctual go before the calling one: it gets a nice value 10 higher, 19
/// at most, and so does what it starts later. Needs no permission. Gives the new value.
pub fn step_back() -> io::Result<i32> {
    const STEP: i32 = 10;
    const MOST: i32 = 19;
    // On Linux "this process" is the calling thread.
    let nice = (rustix::process::getpriority_process(None)? + STEP).min(MOST);
    rustix::process::setpriority_process(None, nice)?;
    Ok(nice)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_steps_back_alone() {
        let nice = || rustix::process::getpriority_process(None).unwrap();
        let before = nice();
        let stepped = std::thread::spawn(move || (step_back().unwrap(), nice()));
        let (given, held) = stepped.join().unwrap();
        assert_eq!((given, held), ((before + 10).min(19), given));
        assert_eq!(nice(), before, "other threads stay as they were");
    }

    #[test]
    fn timer_slack_is_taken() {
        let slack = std::thread::spawn(|| {
            exact_timers()?;
            rustix::thread::current_timer_slack().map_err(io::Error::from)
        });
        assert_eq!(slack.join().unwrap().unwrap(), 1);
    }

    #[test]
    fn real_time_is_granted_or_refused_for_lack_of_permission() {
        let asked = std::thread::spawn(real_time).join().unwrap();
        if let Err(error) = asked {
            assert_eq!(error.kind(), io::ErrorKind::PermissionDenied, "{error}");
        }
    }
}

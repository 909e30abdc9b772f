//! Work on what peers send grows no faster than the input: counted, not timed.
//!
//! Each case is read at sizes 0, n, 4n and 16n, the last one at a limit of
//! `crates/sip/src/limits.rs`. A byte costs at most what its kind of input is known to cost, at each
//! size, and one from 4n to 16n no more than one before, but for a tenth: what is quadratic does
//! four times as much there.

mod cases;
mod count;
mod readers;

use cases::Case;

/// Blocks that are none of the input's: a buffer that grows once more, a branch not taken before.
const SLACK: f64 = 500.0;

fn main() {
    let bytes = std::hint::black_box(vec![0_u8; 1000]);
    let looked_at = count::work_of(|| bytes.iter().position(|&byte| byte == 1));
    assert!(
        (1000..10_000).contains(&looked_at),
        "a look at 1000 bytes counts {looked_at}: run this by scripts/work"
    );
    let cases = cases::all();
    let bad = cases.iter().filter(|case| !is_linear(case)).count();
    println!(
        "{} cases, {bad} not linear or above their bound",
        cases.len()
    );
    std::process::exit(i32::from(bad > 0));
}

fn is_linear(case: &Case) -> bool {
    let Case {
        name,
        most,
        per_byte,
        input,
        read,
    } = case;
    let measured = [0, most / 16, most / 4, *most].map(|size| {
        let input = input(size);
        (input.len() as f64, count::work_of(|| read(&input)) as f64)
    });
    let (bare, fixed) = measured[0];
    let highest = measured[1..]
        .iter()
        .map(|(length, work)| (work - fixed - SLACK) / (length - bare))
        .fold(0.0, f64::max);
    let costs = |from: usize, to: usize| {
        let ((start, before), (end, after)) = (measured[from], measured[to]);
        (after - before) / (end - start)
    };
    let slack = SLACK / (measured[3].0 - measured[2].0);
    let grows = costs(2, 3) > slack + costs(0, 1).max(costs(1, 2)).max(0.0) * 1.1;
    let is_linear = !grows && highest <= *per_byte;
    if !is_linear {
        println!("{name}: bytes and work {measured:?}, {highest:.0} per byte, accepted {per_byte}");
    }
    is_linear
}

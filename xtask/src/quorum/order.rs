//! What can be typed while a quorum runs.

/// Said to whoever asks, or mistypes.
pub(crate) const HELP: &str = "\
kill N         cut the power of server N        start N   give it back
cut N          pull its cable out               cut N M   keep two apart
cut N > M      keep one from the other, one way heal      undo cuts, losses and delays
lose PERCENT   lose frames                      delay MS [MS]  let frames take that long
status         who stands where, and what the switch knows
quit           end all (so does Ctrl-C)";

/// Microseconds of the longest delay that can be asked for.
const DELAY_MAX: u64 = 60_000_000;

/// An order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    Kill(usize),
    Start(usize),
    Cut(usize),
    CutPair(usize, usize),
    CutWay(usize, usize),
    Heal,
    /// Of a million frames.
    Lose(u32),
    /// Microseconds, the least and the most.
    Delay(u64, u64),
    Status,
    Help,
    Quit,
}

impl Order {
    /// Reads a line; nothing if it is empty.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn read(line: &str) -> Result<Option<Self>, String> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let server = |word: &str| {
            word.parse().map_err(|_| format!("`{word}` is not the number of a server"))
        };
        Ok(Some(match words[..] {
            [] => return Ok(None),
            ["kill", n] => Self::Kill(server(n)?),
            ["start", n] => Self::Start(server(n)?),
            ["cut", n] => Self::Cut(server(n)?),
            ["cut", n, m] => Self::CutPair(server(n)?, server(m)?),
            ["cut", n, ">", m] => Self::CutWay(server(n)?, server(m)?),
            ["heal"] => Self::Heal,
            ["lose", percent] => {
                let share: f64 = percent.parse().map_err(|_| "lose takes a number of percent")?;
                if !(0.0..=100.0).contains(&share) {
                    return Err("lose takes from 0 to 100 percent".to_owned());
                }
                Self::Lose((share * 10_000.0) as u32)
            }
            ["delay", ms] => Self::Delay(micros(ms)?, micros(ms)?),
            ["delay", least, most] => {
                let (least, most) = (micros(least)?, micros(most)?);
                if least > most {
                    return Err("delay takes the shorter time first".to_owned());
                }
                Self::Delay(least, most)
            }
            ["status"] => Self::Status,
            ["help" | "?"] => Self::Help,
            ["quit" | "exit"] => Self::Quit,
            _ => return Err(format!("`{}` is nothing that can be done here", words.join(" "))),
        }))
    }
}

fn micros(ms: &str) -> Result<u64, String> {
    let read = ms.parse().ok().and_then(|ms: u64| ms.checked_mul(1000));
    read.filter(|micros| *micros <= DELAY_MAX)
        .ok_or_else(|| format!("`{ms}` is not a number of milliseconds up to 60000"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_are_read() {
        for (line, order) in [
            ("kill 1", Order::Kill(1)),
            (" start  2 ", Order::Start(2)),
            ("cut 3", Order::Cut(3)),
            ("cut 1 2", Order::CutPair(1, 2)),
            ("cut 1 > 2", Order::CutWay(1, 2)),
            ("heal", Order::Heal),
            ("lose 5", Order::Lose(50_000)),
            ("lose 0.5", Order::Lose(5_000)),
            ("delay 10", Order::Delay(10_000, 10_000)),
            ("delay 0 10", Order::Delay(0, 10_000)),
            ("status", Order::Status),
            ("?", Order::Help),
            ("quit", Order::Quit),
        ] {
            assert_eq!(Order::read(line), Ok(Some(order)), "{line}");
        }
        assert_eq!(Order::read("  "), Ok(None));
    }

    #[test]
    fn what_cannot_be_done_is_told() {
        for line in [
            "kill",
            "kill x",
            "kill 1 2",
            "cut",
            "cut 1 < 2",
            "lose",
            "lose 101",
            "lose -1",
            "lose NaN",
            "delay",
            "delay 2 1",
            "delay 60001",
            "dance",
        ] {
            assert!(Order::read(line).is_err(), "{line}");
        }
    }
}

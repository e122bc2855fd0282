//! How many threads take a step, chosen by how long steps take.
//!
//! Thirty barriers a step make a thread that has to wait for its core hold up all others. So beside another busy
//! program fewer threads are often faster, and nothing but a clock can tell: the other choice is tried now and then.

/// Steps of a trial that count. Beside another program steps are short or long at random, and a few prove nothing.
const TRIAL: u32 = 8;
/// A trial is over after this many when they take [`HOPELESS`] times as long as usual.
const GLANCE: u32 = 2;
const HOPELESS: f64 = 1.5;
/// What is gained must be more than noise.
const WORTH_IT: f64 = 0.95;
/// The part of all time that trials may cost. What one has cost decides how long the next is waited for: alone some 450
/// steps.
const SHARE: f64 = 0.005;
/// Steps between trials, at least and at most.
const PAUSE: (f64, f64) = (16.0, 1024.0);
/// A trial comes early when steps take this many times as long as at the last one, or as short.
const DISTURBED: f64 = 1.2;

/// The choice among levels: 0 is all threads, each further one half of those before it.
#[derive(Debug)]
pub(crate) struct Choice {
    n_levels: usize,
    level: usize,
    /// Mean time of the last 32 steps at this level, and what it was at the last trial.
    usual: Mean,
    before: f64,
    /// Steps since the last trial, and those to wait for the next.
    waited: f64,
    pause: f64,
    trial: Option<Trial>,
    /// Whether the next trial is with fewer threads, where both ways are open.
    down: bool,
}

#[derive(Debug)]
struct Trial {
    level: usize,
    /// Steps, and their time.
    n: u32,
    total: f64,
    /// That of the first, which proves nothing: its data lie in the caches of other cores.
    first: f64,
}

/// A mean that forgets.
#[derive(Clone, Copy, Debug, Default)]
struct Mean {
    n: u32,
    value: f64,
}

impl Mean {
    fn add(&mut self, x: f64) {
        self.n = (self.n + 1).min(32);
        self.value += (x - self.value) / f64::from(self.n);
    }
}

impl Choice {
    pub(crate) fn new(n_threads: usize) -> Self {
        Self {
            n_levels: n_threads.max(1).ilog2() as usize + 1,
            level: 0,
            usual: Mean::default(),
            before: 0.0,
            waited: 0.0,
            pause: PAUSE.0,
            trial: None,
            down: true,
        }
    }

    /// The level of the next step.
    pub(crate) fn level(&self) -> usize {
        self.trial.as_ref().map_or(self.level, |trial| trial.level)
    }

    /// Takes note of how long the step at [`Self::level`] took.
    pub(crate) fn record(&mut self, seconds: f64) {
        match &mut self.trial {
            Some(trial) => {
                if trial.n == 0 {
                    trial.first = seconds;
                }
                trial.n += 1;
                trial.total += seconds;
                self.judge();
            }
            None => {
                self.usual.add(seconds);
                self.waited += 1.0;
                let (now, before) = (self.usual.value, self.before);
                let disturbed = now > DISTURBED * before || before > DISTURBED * now;
                let due = if disturbed { PAUSE.0 } else { self.pause };
                if self.waited >= due && self.n_levels > 1 {
                    self.trial =
                        Some(Trial { level: self.neighbour(), n: 0, total: 0.0, first: 0.0 });
                }
            }
        }
    }

    /// The level to try: one up or down, in turn.
    fn neighbour(&mut self) -> usize {
        let down = match self.level {
            0 => true,
            level if level + 1 == self.n_levels => false,
            _ => self.down,
        };
        self.down = !down;
        if down { self.level + 1 } else { self.level - 1 }
    }

    /// Ends the trial when enough is known.
    fn judge(&mut self) {
        let Some(&Trial { level, n, total, first }) = self.trial.as_ref() else { return };
        let (counted, usual) = (n - 1, self.usual.value);
        let mean = (total - first) / f64::from(counted.max(1));
        let hopeless = counted >= GLANCE && mean > HOPELESS * usual;
        if !hopeless && counted < TRIAL {
            return;
        }
        self.trial = None;
        self.waited = 0.0;
        if mean < WORTH_IT * usual {
            self.level = level;
            self.pause = PAUSE.0;
            self.usual = Mean { n: TRIAL, value: mean };
        } else {
            let cost = total - f64::from(n) * usual;
            self.pause = (cost / (SHARE * usual)).clamp(PAUSE.0, PAUSE.1);
        }
        self.before = self.usual.value;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Total time of `n` steps, and the level at the end.
    fn run(choice: &mut Choice, n: usize, mut seconds: impl FnMut(usize) -> f64) -> (f64, usize) {
        let mut total = 0.0;
        for _ in 0..n {
            let step = seconds(choice.level());
            total += step;
            choice.record(step);
        }
        (total, choice.level)
    }

    /// Uniform in [0, 1), from a linear congruential generator.
    fn random() -> impl FnMut() -> f64 {
        let mut state = 7_u64;
        move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 11) as f64 / (1_u64 << 53) as f64
        }
    }

    #[test]
    fn alone_trials_cost_less_than_one_percent() {
        // Halving the threads takes 1.8 times as long, as on two cores.
        let (total, level) = run(&mut Choice::new(2), 6000, |level| [2.5, 4.5][level]);
        assert_eq!(level, 0);
        assert!(total < 1.01 * 6000.0 * 2.5, "{}", total / (6000.0 * 2.5));
    }

    #[test]
    fn beside_another_program_the_faster_choice_is_found_and_left_when_it_ends() {
        let mut choice = Choice::new(2);
        let mut random = random();
        run(&mut choice, 3000, |level| [2.5, 4.5][level]);
        // Two threads: short or long at random, 5.7 on average.
        let mut busy = |level: usize| match level {
            0 if random() < 0.4 => 2.5,
            0 => 7.8,
            _ => 4.6,
        };
        let (total, level) = run(&mut choice, 3000, &mut busy);
        assert_eq!(level, 1);
        assert!(total < 1.05 * 3000.0 * 4.6, "{}", total / (3000.0 * 4.6));
        let (_, level) = run(&mut choice, 1100, |level| [2.5, 4.5][level]);
        assert_eq!(level, 0, "the cores are free again");
    }

    #[test]
    fn of_many_levels_the_fastest_is_found() {
        let times = [9.0, 8.0, 3.0, 2.0, 4.0, 8.0, 16.0];
        let (_, level) = run(&mut Choice::new(64), 2000, |level| times[level]);
        assert_eq!(level, 3);
        let (_, level) = run(&mut Choice::new(1), 2000, |level| [1.0][level]);
        assert_eq!(level, 0);
    }
}

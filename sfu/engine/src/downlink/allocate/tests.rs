#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use super::*;
use proptest::prelude::*;
use std::time::{Duration, Instant};

fn layer(encoding: u8, temporal: u8, kbps: u64, height: u16, fps: u8) -> LayerOption {
    LayerOption {
        encoding: EncodingIndex(encoding),
        spatial: 0,
        temporal,
        rate: Bitrate::kbps(kbps),
        height,
        fps,
        doubtful: false,
    }
}

/// Three encodings of three temporal layers.
fn simulcast() -> Vec<LayerOption> {
    let mut options = Vec::new();
    for (encoding, (height, kbps)) in [(180, 150), (360, 500), (720, 1700)].into_iter().enumerate() {
        for (temporal, (percent, fps)) in [(45, 7), (65, 15), (100, 30)].into_iter().enumerate() {
            options.push(layer(encoding as u8, temporal as u8, kbps * percent / 100, height, fps));
        }
    }
    options
}

fn camera(key: usize, max_height: u16, options: &[LayerOption]) -> Subscription<'_, usize> {
    Subscription { key, priority: Priority::Visible, source: Source::Camera, max_height, options, current: None }
}

/// The best choice under a budget, without hysteresis.
fn solve(kbps: u64, subscriptions: &[Subscription<'_, usize>]) -> (Vec<Choice>, Allocation) {
    let mut decisions = Vec::new();
    Allocator::default().solve_within(Scope::All, Bitrate::kbps(kbps), subscriptions, &mut decisions);
    let allocation = summarise(subscriptions, &decisions);
    (decisions.iter().map(|d| d.choice).collect(), allocation)
}

/// What the chosen layers cost.
fn rate(choices: impl IntoIterator<Item = Choice>) -> Bitrate {
    choices.into_iter().fold(Bitrate::ZERO, |sum, choice| match choice {
        Choice::Layer(option) => sum.plus(option.rate),
        _ => sum,
    })
}

/// Heights chosen, 0 for a pause.
fn heights(kbps: u64, subscriptions: &[Subscription<'_, usize>]) -> Vec<u16> {
    let height = |choice: &Choice| if let Choice::Layer(option) = choice { option.height } else { 0 };
    solve(kbps, subscriptions).0.iter().map(height).collect()
}

#[test]
fn nothing_above_the_next_larger_height_is_sent() {
    let options = simulcast();
    for (max_height, chosen) in
        [(90, 180), (180, 180), (200, 360), (360, 360), (500, 720), (1080, 720), (u16::MAX, 720)]
    {
        assert_eq!(heights(10_000, &[camera(0, max_height, &options)]), [chosen], "tile of {max_height}");
    }
    let single = [layer(0, 0, 1500, 720, 30)];
    assert_eq!(heights(10_000, &[camera(0, 90, &single)]), [720], "there is nothing smaller");
}

#[test]
fn a_choice_says_what_keeps_it_from_a_higher_one() {
    let options = simulcast();
    for (kbps, max_height, expected) in
        [(10_000, u16::MAX, Limit::Source), (10_000, 180, Limit::Size), (600, u16::MAX, Limit::Bandwidth)]
    {
        let subscription = camera(0, max_height, &options);
        let (choices, _) = solve(kbps, &[subscription]);
        let Choice::Layer(chosen) = choices[0] else { panic!("{choices:?}") };
        assert_eq!(subscription.limit(&chosen), expected, "{kbps} kb/s, tile of {max_height}");
    }
}

#[test]
fn everybody_is_shown_before_anybody_is_sharp() {
    let options = simulcast();
    let tiles: Vec<_> = (0..9).map(|key| camera(key, 360, &options)).collect();
    assert!(heights(1000, &tiles).iter().all(|height| *height > 0));
    assert_eq!(heights(9 * 68, &tiles), [180; 9]);
}

#[test]
fn where_there_is_enough_for_all_everybody_gets_the_best_whatever_is_sent_now() {
    let options = simulcast();
    for max_height in [180, 360, 720] {
        let tiles = options
            .iter()
            .enumerate()
            .map(|(key, now)| Subscription { current: Some(now.layer()), ..camera(key, max_height, &options) });
        let (choices, _) = solve(100_000, &tiles.collect::<Vec<_>>());
        let best = |choice| matches!(choice, Choice::Layer(option) if (option.height, option.fps) == (max_height, 30));
        assert!(choices.iter().all(|choice| best(*choice)), "{max_height}: {choices:?}");
    }
}

#[test]
fn a_higher_class_gets_all_it_can_use_first() {
    let options = simulcast();
    let screen = [layer(0, 0, 2000, 1080, 15), layer(0, 1, 1000, 1080, 5)];
    let subscriptions = [
        camera(0, 720, &options),
        Subscription { priority: Priority::Speaker, ..camera(1, 720, &options) },
        Subscription { priority: Priority::Screen, source: Source::Screen, ..camera(2, 1080, &screen) },
        Subscription { priority: Priority::Pinned, ..camera(3, 180, &options) },
        Subscription { priority: Priority::Hidden, ..camera(4, 720, &options) },
        Subscription { priority: Priority::Pinned, ..camera(5, 720, &[]) },
    ];
    let (choices, allocation) = solve(2300, &subscriptions);
    assert_eq!(choices[3], Choice::Layer(options[2]));
    assert_eq!(choices[2], Choice::Layer(screen[0]));
    assert_eq!(choices[1], Choice::Layer(options[2]));
    assert_eq!(choices[0], Choice::Paused);
    assert_eq!((choices[4], choices[5]), (Choice::Hidden, Choice::Absent));
    assert_eq!(allocation, Allocation { demand: Bitrate::kbps(5550), paused: 1 });
    assert_eq!(rate(choices), Bitrate::kbps(2300));
}

#[test]
fn a_screen_prefers_resolution_and_a_camera_prefers_frames() {
    let options = [layer(0, 0, 800, 360, 30), layer(1, 0, 800, 720, 10)];
    assert_eq!(heights(900, &[camera(0, 720, &options)]), [360]);
    assert_eq!(heights(900, &[Subscription { source: Source::Screen, ..camera(0, 720, &options) }]), [720]);
}

#[test]
fn a_track_without_a_low_layer_does_not_block_the_others() {
    let (single, options) = ([layer(0, 0, 1500, 720, 30)], simulcast());
    assert_eq!(
        heights(1400, &[camera(0, 360, &single), camera(1, 360, &options), camera(2, 360, &options)]),
        [0, 360, 360]
    );
}

#[test]
fn what_is_sent_stays_while_a_change_gains_little() {
    let options = simulcast();
    let playing = |current| [Subscription { current, ..camera(0, 720, &options) }];
    let top_of = |encoding| Layer { encoding: EncodingIndex(encoding), spatial: 0, temporal: 2 };
    let low = Some(top_of(1));
    assert_eq!(heights(1750, &playing(None)), [720]);
    assert_eq!(heights(1750, &playing(low)), [360], "no room for the key frame");
    assert_eq!(heights(1900, &playing(low)), [720]);
    assert_eq!(heights(1700, &playing(Some(top_of(2)))), [720], "once there it stays");
    assert_eq!(heights(70, &playing(low)), [180], "to switch down needs no room");
}

/// What is chosen for nine tiles budget after budget, each time with what was chosen before.
fn choose_in_turn(budgets: &[u64]) -> Vec<Vec<Choice>> {
    let options = simulcast();
    let mut tiles: Vec<_> = (0..9).map(|key| camera(key, 720, &options)).collect();
    let (mut allocator, mut decisions) = (Allocator::default(), Vec::new());
    let turn = |kbps: &u64| {
        let budget = Bitrate::kbps(*kbps);
        allocator.choose(budget, 0.0, budget.plus(slack(budget)), &tiles, &mut decisions);
        for decision in &decisions {
            tiles[decision.key].current = match decision.choice {
                Choice::Layer(option) => Some(option.layer()),
                _ => None,
            };
        }
        decisions.iter().map(|d| d.choice).collect()
    };
    budgets.iter().map(turn).collect()
}

#[test]
fn noise_in_the_budget_changes_nothing_and_a_real_change_does() {
    for budget in [300, 500, 900, 1500, 4000, 9000] {
        // From the peak on: a budget that grows may bring more, but what it brought stays.
        let noisy = [budget * 102 / 100, budget * 98 / 100, budget, budget * 98 / 100, budget * 102 / 100];
        let chosen = choose_in_turn(&noisy);
        assert!(chosen.windows(2).all(|pair| pair[0] == pair[1]), "at {budget} kb/s: {chosen:?}");
        let moved = choose_in_turn(&[budget, budget * 4 / 5, budget]);
        assert!(moved[0] != moved[1] && moved[1] != moved[2], "at {budget} kb/s: {moved:?}");
    }
}

#[test]
fn what_is_sent_goes_on_within_the_allowance() {
    let options = simulcast();
    let top = options.last().unwrap().layer();
    let tile = [Subscription { current: Some(top), ..camera(0, 720, &options) }];
    let mut decisions = Vec::new();
    for (allowance, height) in [(1700, 720), (1600, 360)] {
        let (budget, allowance) = (Bitrate::kbps(1500), Bitrate::kbps(allowance));
        Allocator::default().choose(budget, 0.0, allowance, &tile, &mut decisions);
        let Choice::Layer(option) = decisions[0].choice else { panic!("{decisions:?}") };
        assert_eq!(option.height, height, "{allowance}");
    }
}

#[test]
fn pictures_that_are_alike_do_not_change_places_with_each_frame_that_is_counted() {
    let small = |temporal, kbps, fps| layer(0, temporal, kbps, 180, fps);
    let measured =
        |low, middle| [small(0, 28, low), small(1, 45, middle), small(2, 79, 30), layer(1, 0, 1600, 720, 30)];
    let rates =
        [(7, 15), (6, 14), (8, 16), (8, 15), (7, 16), (6, 15), (8, 14)].map(|(low, middle)| measured(low, middle));
    let (budget, mut allocator, mut decisions) = (Bitrate::kbps(134), Allocator::default(), Vec::new());
    let targets = |decisions: &[Decision<usize>]| -> Vec<_> {
        let target = |choice| if let Choice::Layer(option) = choice { Some(option.layer()) } else { None };
        decisions.iter().map(|decision| target(decision.choice)).collect()
    };
    let even = [0, 1, 2].map(|key| camera(key, 720, &rates[0]));
    allocator.choose(budget, 0.0, budget, &even, &mut decisions);
    let sent = targets(&decisions);
    assert!(sent.iter().any(|target| *target != sent[0]), "who gets more is a matter of chance: {sent:?}");
    for (a, b) in rates.iter().flat_map(|a| rates.iter().map(move |b| (a, b))) {
        let tiles = [a, b, &rates[0]].into_iter().enumerate();
        let tiles: Vec<_> =
            tiles.map(|(key, options)| Subscription { current: sent[key], ..camera(key, 720, options) }).collect();
        allocator.choose(budget, 0.0, budget, &tiles, &mut decisions);
        assert_eq!(targets(&decisions), sent, "{a:?} {b:?}");
    }
}

#[test]
fn a_picture_is_made_smaller_to_show_another() {
    let options = simulcast();
    let sent = Some(options[8].layer());
    let tiles = [Subscription { current: sent, ..camera(0, 720, &options) }, camera(1, 720, &options)];
    let (budget, mut decisions) = (Bitrate::kbps(1750), Vec::new());
    Allocator::default().choose(budget, 0.0, budget, &tiles, &mut decisions);
    assert!(decisions.iter().all(|decision| matches!(decision.choice, Choice::Layer(_))), "{decisions:?}");
    assert_ne!(decisions[0].choice, Choice::Layer(options[8]));
}

#[test]
fn audio_and_repair_come_before_video() {
    let (audio, estimate) = (Bitrate::kbps(40), Bitrate::kbps(1000));
    assert_eq!(video_budget(estimate, audio, 0.0), Bitrate::kbps(960));
    assert_eq!(video_budget(estimate, audio, 0.1).as_bps() / 1000, 859);
    assert_eq!(video_budget(Bitrate::kbps(30), audio, 1.0), Bitrate::ZERO);
}

#[test]
fn it_is_solved_again_only_where_that_can_matter() {
    let (now, kbps) = (Instant::now(), Bitrate::kbps);
    let later = now + Duration::from_secs(1);
    let mut guard = SolveGuard::default();
    assert!(guard.is_due(now, kbps(1000), || kbps(0), kbps(3000)), "never solved");
    guard.solved(now, kbps(1000));
    assert!(!guard.is_due(later, kbps(1010), || kbps(900), kbps(3000)), "nothing has changed");
    assert!(!guard.is_due(now, kbps(1200), || kbps(900), kbps(3000)), "a moment ago");
    assert!(guard.is_due(later, kbps(1200), || kbps(900), kbps(3000)));
    assert!(!guard.is_due(later, kbps(5000), || kbps(3000), kbps(3000)), "all have what they want");
    assert!(guard.is_due(now, kbps(800), || kbps(900), kbps(3000)), "too much is being sent");
    guard.invalidate();
    assert!(guard.is_due(now, kbps(1000), || kbps(900), kbps(3000)));
}

#[test]
fn a_room_of_a_thousand_tiles_is_solved_within_bounds() {
    let options = simulcast();
    let tiles: Vec<_> = (0..1000).map(|key| camera(key, 720, &options)).collect();
    let (choices, _) = solve(100_000, &tiles);
    assert!(choices.iter().all(|choice| matches!(choice, Choice::Layer(_))));
    let rate = rate(choices);
    assert!(rate <= Bitrate::kbps(100_000) && rate > Bitrate::kbps(99_000));
}

/// Highest utility of a class and the lowest cost at which it is reached, by trying everything.
fn exhaustive(class: &[&Subscription<'_, usize>], budget: Bitrate) -> (u32, Bitrate) {
    let Some((first, rest)) = class.split_first() else { return (0, Bitrate::ZERO) };
    let paused = exhaustive(rest, budget);
    let shown = first.allowed(Scope::All).filter(|(_, option)| cost(first, option) <= budget).map(|(_, option)| {
        let (value, rest) = exhaustive(rest, budget.minus(cost(first, option)));
        (value + utility(first, option), rest.plus(cost(first, option)))
    });
    shown.fold(paused, |best, new| if new.0 > best.0 || (new.0 == best.0 && new.1 < best.1) { new } else { best })
}

prop_compose! {
    fn any_option()(encoding in 0u8..3, spatial in 0u8..3, temporal in 0u8..3, bps in 1u64..3_000_000, height in 0u16..1100, fps in 0u8..61)
        -> LayerOption {
        LayerOption { encoding: EncodingIndex(encoding), spatial, temporal, rate: Bitrate::bps(bps), height, fps, doubtful: false }
    }
}

prop_compose! {
    fn any_subscription()(
        priority in prop::sample::select(vec![
            Priority::Hidden, Priority::Visible, Priority::Visible, Priority::Speaker, Priority::Screen, Priority::Pinned,
        ]),
        screen in any::<bool>(),
        max_height in prop_oneof![Just(u16::MAX), 0u16..1200],
        options in prop::collection::vec(any_option(), 0..6),
        current in prop::option::of((0u8..3, 0u8..3, 0u8..3)),
    ) -> (Priority, bool, u16, Vec<LayerOption>, Option<Layer>) {
        (priority, screen, max_height, options, current.map(|(encoding, spatial, temporal)| Layer { encoding: EncodingIndex(encoding), spatial, temporal }))
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn the_solution_is_the_best_there_is(
        drawn in prop::collection::vec(any_subscription(), 0..6),
        budget in prop_oneof![0u64..400_000, 0u64..6_000_000],
    ) {
        let subscriptions: Vec<_> = drawn.iter().enumerate().map(|(key, (priority, screen, max_height, options, current))| {
            let source = if *screen { Source::Screen } else { Source::Camera };
            Subscription { key, priority: *priority, source, max_height: *max_height, options, current: *current }
        }).collect();
        let budget = Bitrate::bps(budget);
        let mut decisions = Vec::new();
        Allocator::default().solve_within(Scope::All, budget, &subscriptions, &mut decisions);
        prop_assert!(rate(decisions.iter().map(|decision| decision.choice)) <= budget);
        let mut left = budget;
        for priority in [Priority::Pinned, Priority::Screen, Priority::Speaker, Priority::Visible] {
            let class: Vec<_> = subscriptions.iter().filter(|s| s.priority == priority).collect();
            let best = exhaustive(&class, left);
            let chosen = class.iter().fold((0, Bitrate::ZERO), |sum, s| match decisions[s.key].choice {
                Choice::Layer(option) => (sum.0 + utility(s, &option), sum.1.plus(cost(s, &option))),
                _ => sum,
            });
            prop_assert_eq!(chosen, best, "class {:?}", priority);
            left = left.minus(best.1);
        }
    }
}

//! What each latent is used for: use of its categories, KL, information about image and label, and between latents.

use std::path::Path;

use anyhow::{Result, ensure};
use catvae_train::{LatentStatistics, LatentUse};

use super::axes::{LABEL_SIZE, TICK_SIZE, TITLE_SIZE, number};
use super::canvas::{
    Align, BLUE, Canvas, Color, GREEN, GREY, INK, LIGHT_GREY, Rect, Text, VERMILION, WHITE,
};
use super::shortened;

/// Where the titles of the panels stand, below that of the figure.
const PANEL_TITLE: f64 = 104.0;
const TOP: f64 = PANEL_TITLE + 76.0;
const MARGIN: f64 = 40.0;
const NAMES: f64 = 60.0;
const ROW_HEIGHT: f64 = 30.0;
const CELL: f64 = 22.0;
const BARS: f64 = 190.0;
/// After each panel: room for the value of its longest bar.
const GAP: f64 = 110.0;
const BOTTOM: f64 = 40.0;
/// Latents and categories that still can be told apart.
const AT_MOST: usize = 400;

/// Title, colour and value of a panel of bars.
type Panel = (&'static str, Color, fn(&LatentUse) -> Option<f64>);

/// Draws one row a latent, in the order of their information about the image, and the information between them.
///
/// # Errors
/// A code of more than 400 latents or categories; the file cannot be written.
pub(crate) fn draw_latents(title: &str, found: &LatentStatistics, path: &Path) -> Result<()> {
    let mut order: Vec<usize> = (0..found.latents.len()).collect();
    let latents = &found.latents;
    order.sort_by(|&a, &b| latents[b].information.total_cmp(&latents[a].information));
    let n_categories = latents.first().map_or(0, |latent| latent.usage.len());
    ensure!(
        order.len().max(n_categories) <= AT_MOST,
        "{} latents of {n_categories} categories are too many to draw, the limit is {AT_MOST}; use --json",
        order.len()
    );
    let bars: [Panel; 3] = [
        ("KL", BLUE, |latent| Some(latent.kl)),
        ("I(z; image)", GREEN, |latent| Some(latent.information)),
        ("I(z; label)", VERMILION, |latent| latent.label_information),
    ];
    let use_left = MARGIN + NAMES;
    let bars_left = use_left + (n_categories as f64 * CELL).max(150.0) + 50.0;
    let pairs_left = bars_left + bars.len() as f64 * (BARS + GAP);
    let side = order.len() as f64 * ROW_HEIGHT;
    let pairs_width =
        if found.information_between.is_some() { side.max(300.0) + MARGIN } else { 0.0 };
    let mut canvas = Canvas::new((pairs_left + pairs_width).ceil(), TOP + side + BOTTOM)?;
    let heading = Text::new(TITLE_SIZE, INK).bold();
    let text = shortened(&canvas, title, heading, pairs_left + pairs_width - 2.0 * MARGIN);
    canvas.text(&text, (MARGIN, 44.0), heading);
    let head = |canvas: &mut Canvas, text: &str, hint: &str, left: f64| {
        canvas.text(text, (left, PANEL_TITLE), Text::new(LABEL_SIZE, INK).bold());
        canvas.text(hint, (left, PANEL_TITLE + 38.0), Text::new(TICK_SIZE - 2.0, GREY));
    };

    head(&mut canvas, "use", "of the categories", use_left);
    for (row, &i) in order.iter().enumerate() {
        let color = if latents[i].is_dead() { GREY } else { INK };
        let name = Text::new(TICK_SIZE, color).align(Align::End);
        canvas.text(&i.to_string(), (use_left - 14.0, top(row) + ROW_HEIGHT / 2.0), name);
        for (k, &q) in latents[i].usage.iter().enumerate() {
            let left = use_left + k as f64 * CELL;
            canvas.fill(cell(row, left, CELL), mixed(LIGHT_GREY, BLUE, q.sqrt()));
        }
    }
    for (panel, (name, color, value)) in bars.into_iter().enumerate() {
        let left = bars_left + panel as f64 * (BARS + GAP);
        head(&mut canvas, name, "nats", left);
        let longest = latents.iter().filter_map(value).fold(1e-9, f64::max);
        for (row, &i) in order.iter().enumerate() {
            let Some(value) = value(&latents[i]) else { continue };
            let length = BARS * value / longest;
            canvas.fill(cell(row, left, length), color);
            let at = (left + length + 8.0, top(row) + ROW_HEIGHT / 2.0);
            canvas.text(&number(value, 2), at, Text::new(TICK_SIZE - 4.0, INK));
        }
    }
    if let Some(between) = &found.information_between {
        head(&mut canvas, "I(z; z')", "white 0, dark 1 nat or more", pairs_left);
        for (row, &a) in order.iter().enumerate() {
            for (col, &b) in order.iter().enumerate().filter(|(col, _)| *col != row) {
                let left = pairs_left + col as f64 * ROW_HEIGHT;
                canvas.fill(cell(row, left, ROW_HEIGHT), mixed(WHITE, BLUE, between[a][b].sqrt()));
            }
        }
    }
    canvas.save(path)
}

fn top(row: usize) -> f64 {
    TOP + row as f64 * ROW_HEIGHT
}

/// A box in a row, with a hairline of white around it.
fn cell(row: usize, left: f64, width: f64) -> Rect {
    Rect {
        left,
        right: left + (width - 2.0).max(0.0),
        top: top(row),
        bottom: top(row) + ROW_HEIGHT - 2.0,
    }
}

/// A colour between two.
fn mixed(from: Color, to: Color, share: f64) -> Color {
    let share = share.clamp(0.0, 1.0);
    let mut mixed = from;
    for (value, to) in mixed.0.iter_mut().zip(to.0) {
        *value = (f64::from(*value) * (1.0 - share) + f64::from(to) * share).round() as u8;
    }
    mixed
}

#[cfg(test)]
mod tests {
    use super::super::testing::Picture;
    use super::*;

    fn latent(usage: [f64; 2], kl: f64) -> LatentUse {
        let (perplexity, entropy, information) = (2.0, 0.0, kl);
        LatentUse {
            usage: usage.into(),
            perplexity,
            kl,
            entropy,
            information,
            label_information: None,
        }
    }

    #[test]
    fn every_latent_has_its_cells_and_bars() {
        let latents = vec![latent([1.0, 0.0], 0.25), latent([0.0, 1.0], 0.5)];
        let information_between = Some(vec![vec![0.5, 4.0], vec![4.0, 0.5]]);
        let found = LatentStatistics { n_images: 4, kl: 0.0, latents, information_between };
        let picture = Picture::of(|path| draw_latents("a run", &found, path)).unwrap();
        // Two cells of use, two of pairs, and bars of full and half length.
        let height = ROW_HEIGHT - 2.0;
        let cells = 2.0 * (CELL - 2.0) * height + 2.0 * height * height;
        let bars = |n: f64| (1.5 * BARS - 4.0) * height * n;
        let close = |color, area: f64| {
            let painted = picture.count(color) as f64;
            assert!((painted - area).abs() < 60.0, "{color:?}: {painted} instead of {area}");
        };
        close(BLUE, cells + bars(1.0));
        close(GREEN, bars(1.0));
        close(VERMILION, 0.0);
    }

    #[test]
    fn too_many_to_draw_is_an_error_that_says_the_limit() {
        let latents = vec![latent([1.0, 0.0], 0.0); 401];
        let found = LatentStatistics { n_images: 1, kl: 0.0, latents, information_between: None };
        let error =
            draw_latents("a run", &found, Path::new("never written")).unwrap_err().to_string();
        assert!(error.contains("401") && error.contains("400"), "{error}");
    }
}

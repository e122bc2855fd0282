//! `catvae explore`.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use catvae_train::RunDir;

use crate::args::{ExploreArgs, Part, RunArgs};
use crate::explorer::{self, Exhibit};
use crate::grid::prepare;
use crate::progress::print_line;
use crate::run::OpenRun;

pub(crate) fn explore(args: &ExploreArgs) -> Result<ExitCode> {
    prepare(args.out.as_deref(), &["html"])?;
    let device = args.device.open()?;
    let mut first = OpenRun::open(&args.run, args.checkpoint, &device)?;
    let second = match &args.other {
        Some(path) => {
            let opened = OpenRun::open(path, args.checkpoint, &device)?;
            Some((RunDir::new(&opened.path), opened))
        }
        None => None,
    };
    let of_images = RunArgs {
        run: args.run.clone(),
        checkpoint: args.checkpoint,
        data_dir: args.data_dir.clone(),
        images: None,
        device: args.device,
    };
    let images = first.images(&of_images, Part::Test)?;
    let run = RunDir::new(&first.path);
    let mut exhibits =
        vec![Exhibit { run: &run, config: &first.config, model: &first.model, step: first.step }];
    let mut path = explorer::path_in(&run);
    if let Some((run, opened)) = &second {
        let [ours, theirs] = [first.config.model.image_shape, opened.config.model.image_shape];
        ensure!(
            ours == theirs,
            "two runs side by side see the same picture: {} has images of {}x{} pixels and {} of {}x{}",
            args.run.display(),
            ours[0],
            ours[1],
            run.path().display(),
            theirs[0],
            theirs[1]
        );
        exhibits.push(Exhibit {
            run,
            config: &opened.config,
            model: &opened.model,
            step: opened.step,
        });
        path = path.with_file_name("explorer-of-two.html");
    }
    let path = args.out.as_ref().unwrap_or(&path);
    explorer::write(&exhibits, &images, args.images.map(usize::from), &device, path)?;
    print_line(&address(path)?);
    Ok(ExitCode::SUCCESS)
}

/// What a browser opens.
fn address(path: &Path) -> Result<String> {
    let path = path.canonicalize().with_context(|| format!("cannot find {}", path.display()))?;
    let escaped = path
        .display()
        .to_string()
        .replace('%', "%25")
        .replace(' ', "%20")
        .replace('#', "%23")
        .replace('?', "%3F");
    Ok(format!("file://{escaped}"))
}

//! Images without a registry: ordinary Dockerfiles built by buildah, kept as OCI archives in the
//! cache and built again only when what goes in has changed.

mod debian;
mod docker;

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use crate::process::{output, succeeds};
use crate::progress::Progress;
use crate::{layout, tools};
use debian::{check_glibc, root_file_system};

pub(crate) use docker::docker_archive;

/// What every pod's network namespace hangs on.
pub(crate) const PAUSE_IMAGE: &str = "docker.io/callmeter/pause:1";

const DEBIAN_IMAGE: &str = "docker.io/library/debian:bookworm-slim";

/// What the tests, the demo and users build; `up` makes its own.
pub(crate) const BUILDABLE: [&str; 5] = ["operator", "gateway", "worker", "peers", "busybox"];

/// How to make one image.
#[derive(Debug)]
struct Recipe {
    name: &'static str,
    reference: String,
    dockerfile: PathBuf,
    /// Host files and their names in the build context.
    files: Vec<(PathBuf, &'static str)>,
    /// Host programs that stand in for the Dockerfile's `build` stage.
    programs: Vec<PathBuf>,
    /// Debian packages of a root file system made for this image, `rootfs.tar` in the context.
    packages: Option<PathBuf>,
}

/// A built image.
#[derive(Debug, Clone)]
pub(crate) struct Archive {
    pub(crate) path: PathBuf,
    pub(crate) reference: String,
}

/// The images `up` itself needs: pause, and `coredns` for the system node.
pub(crate) fn system_images(progress: &Progress) -> Result<(Archive, Archive)> {
    let pause = work_dir()?.join("pause");
    let source = images_source().join("pause/pause.c");
    if !is_newer(&pause, &source) {
        let mut compiler = Command::new("cc");
        output(
            compiler
                .args(["-static", "-Os", "-s", "-o"])
                .arg(&pause)
                .arg(&source),
        )?;
    }
    let pause = build(
        &from_files("pause", PAUSE_IMAGE, &[(pause, "pause")]),
        progress,
    )?;
    let reference = coredns_image()?;
    let program = tools::program("coredns")?;
    let coredns = build(
        &from_files("coredns", &reference, &[(program, "coredns")]),
        progress,
    )?;
    Ok((pause, coredns))
}

pub(crate) fn coredns_image() -> Result<String> {
    Ok(format!(
        "docker.io/callmeter/coredns:{}",
        tools::coredns_version()?
    ))
}

/// Builds the image `name` of [`BUILDABLE`] under `tag`, with product programs from `programs`.
pub(crate) fn build_named(
    name: &str,
    tag: &str,
    programs: &Path,
    progress: &Progress,
) -> Result<Archive> {
    let recipe = match name {
        "operator" => product("operator", tag, programs, &["callmeter-operator"])?,
        "gateway" => product(
            "gateway",
            tag,
            programs,
            &["callmeter-gateway", "callmeter"],
        )?,
        "worker" => product("worker", tag, programs, &["callmeter-worker"])?,
        "busybox" => {
            let reference = format!("docker.io/callmeter/busybox:{tag}");
            from_files(
                "busybox",
                &reference,
                &[(PathBuf::from("/bin/busybox"), "busybox")],
            )
        }
        "peers" => Recipe {
            packages: Some(images_source().join("peers/packages")),
            ..from_files("peers", &format!("docker.io/callmeter/peers:{tag}"), &[])
        },
        other => bail!("no image {other:?}; there are {}", BUILDABLE.join(", ")),
    };
    if !recipe.programs.is_empty() {
        ensure_base(progress)?;
    }
    build(&recipe, progress)
}

fn from_files(name: &'static str, reference: &str, files: &[(PathBuf, &'static str)]) -> Recipe {
    Recipe {
        name,
        reference: reference.to_owned(),
        dockerfile: images_source().join(name).join("Dockerfile"),
        files: files.to_vec(),
        programs: Vec::new(),
        packages: None,
    }
}

fn product(name: &'static str, tag: &str, dir: &Path, programs: &[&str]) -> Result<Recipe> {
    let programs: Vec<_> = programs.iter().map(|program| dir.join(program)).collect();
    for program in &programs {
        if !program.is_file() {
            bail!(
                "{} is not there; compile it with `cargo build -p callmeter-{name}` \
                 or name its folder with --programs",
                program.display()
            );
        }
    }
    check_glibc()?;
    Ok(Recipe {
        name,
        reference: format!("docker.io/callmeter/{name}:{tag}"),
        dockerfile: layout::source_root().join(format!("Dockerfile.{name}")),
        files: Vec::new(),
        programs,
        packages: None,
    })
}

/// The base of the product's images, made under the name its Dockerfiles ask for.
fn ensure_base(progress: &Progress) -> Result<()> {
    let recipe = Recipe {
        packages: Some(images_source().join("debian/packages")),
        ..from_files("debian", DEBIAN_IMAGE, &[])
    };
    let built = build(&recipe, progress)?;
    if !succeeds(buildah()?.args(["inspect", "--type", "image", DEBIAN_IMAGE])) {
        let source = format!("oci-archive:{}", built.path.display());
        let id = output(buildah()?.args(["pull", "-q", &source]))?;
        output(buildah()?.args(["tag", id.trim(), DEBIAN_IMAGE]))?;
    }
    Ok(())
}

fn build(recipe: &Recipe, progress: &Progress) -> Result<Archive> {
    let tag = recipe.reference.rsplit(':').next().unwrap_or_default();
    let path = images_dir()?.join(format!("{}-{tag}.tar", recipe.name));
    let archive = Archive {
        path: path.clone(),
        reference: recipe.reference.clone(),
    };
    let key_file = path.with_extension("tar.key");
    let key = fingerprint(recipe)?;
    if path.exists() && fs::read_to_string(&key_file).is_ok_and(|known| known == key) {
        return Ok(archive);
    }
    let context = work_dir()?.join(format!("{}-context", recipe.name));
    renew_dir(&context)?;
    let stage = context.join("build");
    fs::create_dir_all(stage.join("out")).with_context(|| format!("create {}", stage.display()))?;
    for (file, name) in &recipe.files {
        copy(file, &context.join(name))?;
    }
    for program in &recipe.programs {
        let name = program.file_name().context("a program has a file name")?;
        let stripped = stage.join("out").join(name);
        let mut strip = Command::new("strip");
        output(
            strip
                .arg("--strip-debug")
                .arg("-o")
                .arg(&stripped)
                .arg(program),
        )?;
    }
    if let Some(packages) = &recipe.packages {
        copy(
            &root_file_system(recipe.name, packages, progress)?,
            &context.join("rootfs.tar"),
        )?;
    }
    output(
        buildah()?
            // `--format docker`: an OCI image has no HEALTHCHECK.
            .args([
                "bud",
                "--isolation",
                "chroot",
                "--pull-never",
                "--format",
                "docker",
            ])
            .arg("--build-context")
            .arg(format!("build={}", stage.display()))
            .args(["--tag", &recipe.reference, "--file"])
            .arg(&recipe.dockerfile)
            .arg(&context),
    )?;
    let fresh = path.with_extension("tar.new");
    if fresh.exists() {
        fs::remove_file(&fresh).with_context(|| format!("remove {}", fresh.display()))?;
    }
    let target = format!("oci-archive:{}:{}", fresh.display(), recipe.reference);
    output(buildah()?.args(["push", "--quiet", &recipe.reference, &target]))?;
    fs::rename(&fresh, &path).with_context(|| format!("rename to {}", path.display()))?;
    fs::write(&key_file, key).with_context(|| format!("write {}", key_file.display()))?;
    fs::remove_dir_all(&context).with_context(|| format!("remove {}", context.display()))?;
    // The image this one replaces.
    output(buildah()?.args(["rmi", "--prune"]))?;
    let size = path.metadata().map_or(0, |file| file.len()) / 1_000_000;
    progress.step(&format!("image {} built ({size} MB)", recipe.reference));
    Ok(archive)
}

/// Changes whenever the image would come out differently.
fn fingerprint(recipe: &Recipe) -> Result<String> {
    let mut hash = Sha256::new();
    hash.update(&recipe.reference);
    let files = recipe.files.iter().map(|(file, _)| file);
    for file in files
        .chain(&recipe.programs)
        .chain(&recipe.packages)
        .chain([&recipe.dockerfile])
    {
        let mut file = File::open(file).with_context(|| format!("open {}", file.display()))?;
        let mut part = Sha256::new();
        io::copy(&mut file, &mut HashWriter(&mut part))?;
        hash.update(part.finalize());
    }
    if !recipe.programs.is_empty() {
        let base = images_source().join("debian/packages");
        hash.update(fs::read(&base).with_context(|| format!("read {}", base.display()))?);
    }
    Ok(hex::encode(hash.finalize()))
}

struct HashWriter<'a>(&'a mut Sha256);

impl io::Write for HashWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Buildah on a store of our own, so that the machine's images stay as they are.
fn buildah() -> Result<Command> {
    let store = layout::cache()?.join("buildah");
    let mut command = Command::new("buildah");
    command
        .arg("--root")
        .arg(store.join("root"))
        .arg("--runroot")
        .arg(store.join("run"));
    command.args(["--storage-driver", "vfs"]);
    Ok(command)
}

fn images_source() -> PathBuf {
    layout::source_root().join("e2e/images")
}

fn images_dir() -> Result<PathBuf> {
    let dir = layout::cache()?.join("images");
    fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
    Ok(dir)
}

fn work_dir() -> Result<PathBuf> {
    let dir = images_dir()?.join("work");
    fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
    Ok(dir)
}

fn renew_dir(dir: &Path) -> Result<()> {
    if dir.exists() {
        fs::remove_dir_all(dir).with_context(|| format!("remove {}", dir.display()))?;
    }
    fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    // A hard link where both are on one file system: root file systems are large.
    let real = fs::canonicalize(from).with_context(|| format!("find {}", from.display()))?;
    if fs::hard_link(&real, to).is_ok() {
        return Ok(());
    }
    fs::copy(&real, to)
        .map(drop)
        .with_context(|| format!("copy {} to {}", from.display(), to.display()))
}

fn is_newer(file: &Path, than: &Path) -> bool {
    let modified = |path: &Path| path.metadata().and_then(|meta| meta.modified()).ok();
    matches!((modified(file), modified(than)), (Some(file), Some(than)) if file >= than)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_image_is_refused_with_the_names_there_are() {
        let error = build_named("wroker", "dev", Path::new("/"), &Progress::new()).unwrap_err();
        assert!(error.to_string().contains("worker"), "{error}");
    }
}

"""The reef in a notebook, in a folder with a catalog that has reef@v1: each `# %%` begins a cell."""

# %% Get the data, and look at it before anything is built
import datapack

fetched = datapack.fetch("reef@v1", progress=True)
print(fetched.files, "files,", fetched.bytes / 1e6, "MB in", fetched.bag)

checked = datapack.check("reef@v1", deep=True)
for finding in checked.findings:
    print(finding.rule.severity, finding.rule.code, finding.count, finding.rule.title)

# %% A page about it, for people without datapack
page = datapack.report("reef@v1")
print(page.path.as_uri(), page.samples, "images of the data")

# %% Its import container, and every byte of it
try:
    built = datapack.build("reef@v1")
    verified = datapack.verify(built.target)
except datapack.DatapackError as error:
    print("in words:", error)
    raise
assert (verified.digest, verified.image) == (fetched.digest, built.image)
print(verified)

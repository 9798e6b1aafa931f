_datapack_references() {
  local -a typed=(${(z)BUFFER})
  local folder=${typed[${typed[(i)-C]} + 1]:-.}
  compadd -- ${(f)"$($typed[1] -C $folder list --names 2> /dev/null)"}
}

_datapack_references_or_files() {
  _datapack_references
  _files
}

_datapack_targets() {
  compadd -S '' -- oci: oci-archive: docker-daemon: docker://
}

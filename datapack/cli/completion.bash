# shellcheck shell=bash
# Bash splits a word at '@', ':' and '=', and would complete 'reef@v' as three words. Here words end only at spaces.
_datapack() {
  local line=${COMP_LINE:0:COMP_POINT} COMP_WORDS COMP_CWORD word mark start kept=
  read -ra COMP_WORDS <<< "$line"
  if [[ $line == *[[:space:]] ]]; then
    COMP_WORDS+=("")
  fi
  COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
  _shtab_datapack
  word=${COMP_WORDS[COMP_CWORD]}
  for mark in @ : =; do  # bash keeps what is before the last of these, and replaces the rest
    if [[ $COMP_WORDBREAKS == *"$mark"* && $word == *"$mark"* ]]; then
      start=${word%"${word##*"$mark"}"}
      if [[ $mark == @ ]] && shopt -q hostcomplete; then  # names of hosts begin with '@', so it replaces that too
        start=${start%@}
      fi
      if ((${#start} > ${#kept})); then
        kept=$start
      fi
    fi
  done
  COMPREPLY=("${COMPREPLY[@]#"$kept"}")
  if [[ ${#COMPREPLY[@]} == 1 && ${COMPREPLY[0]} == *[:/] ]]; then  # the beginning of a target: its rest follows
    compopt -o nospace
  fi
}

_datapack_references() {
  local index folder=.
  for ((index = 1; index < COMP_CWORD; index++)); do
    if [[ ${COMP_WORDS[index]} == -C || ${COMP_WORDS[index]} == --directory ]]; then
      folder=${COMP_WORDS[index + 1]}
    fi
  done
  compgen -W "$("${COMP_WORDS[0]}" -C "$folder" list --names 2> /dev/null)" -- "$1"
}

_datapack_references_or_files() {
  _datapack_references "$1"
  compgen -f -- "$1"
}

_datapack_targets() {
  compgen -W "oci: oci-archive: docker-daemon: docker://" -- "$1"
}

complete -o bashdefault -F _datapack datapack

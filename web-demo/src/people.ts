// What an avatar looks like: its name and colours, the same on every page.

import type { Avatar } from "@nearcast/client";
import { Color } from "three";

const COATS = ["#3f6fb5", "#2f8f7f", "#c98a2b", "#7d5bb8", "#5b8f3a", "#b8557d", "#2c87a0", "#a3643f", "#59677f", "#c4573a"].map((hex) => new Color(hex));
const SKINS = ["#f1c9a5", "#e0ac82", "#c68863", "#9c6644", "#6f4530"].map((hex) => new Color(hex));
const BIRDS = ["Avocet", "Bittern", "Curlew", "Dunlin", "Egret", "Fulmar", "Godwit", "Heron", "Knot", "Lapwing", "Plover", "Wren"];

/** One's own colour. */
export const MINE = new Color("#ff5a36");

/** A number's hash, so that neighbours differ. */
function hash(id: number): number {
  return Math.imul((id % 2 ** 31) ^ 0x5bd1e995, 0x9e3779b1) >>> 0;
}

/** The colour of a coat. */
export function coat(entity: number): Color {
  return COATS[hash(entity) % COATS.length]!;
}

/** The colour of a head. */
export function skin(entity: number): Color {
  return SKINS[(hash(entity) >>> 8) % SKINS.length]!;
}

/** A name for somebody new. */
export function someName(): string {
  return `${BIRDS[Math.floor(Math.random() * BIRDS.length)]} ${Math.floor(Math.random() * 90) + 10}`;
}

const names = new WeakMap<Avatar, { profile: string; name: string }>();

/** A profile is a name, or JSON with one. */
export function nameOf(avatar: Avatar): string {
  const known = names.get(avatar);
  if (known?.profile === avatar.profile) return known.name;
  const name = read(avatar.profile).slice(0, 24);
  names.set(avatar, { profile: avatar.profile, name });
  return name;
}

function read(profile: string): string {
  // Bots of the load test have numbers.
  const bot = /^bot 0*(\d+)$/.exec(profile);
  if (bot) return `${BIRDS[Number(bot[1]) % BIRDS.length]} ${bot[1]}`;
  try {
    return String(JSON.parse(profile).name ?? profile);
  } catch {
    return profile;
  }
}

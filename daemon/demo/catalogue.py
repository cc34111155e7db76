"""What the demo ERP sells and to whom: the data that the seed writes.

Invariant: plain values, nothing computed at import; every SKU starts with the family that the shop has a drawing for.
"""

from __future__ import annotations

from typing import NamedTuple

CATEGORIES: tuple[tuple[str, str | None], ...] = (
    ("Fixings", None),
    ("Bolts & nuts", "Fixings"),
    ("Screws & anchors", "Fixings"),
    ("Tools", None),
    ("Hand tools", "Tools"),
    ("Measuring", "Tools"),
    ("Cutting & drilling", None),
    ("Drilling & tapping", "Cutting & drilling"),
    ("Abrasives & blades", "Cutting & drilling"),
    ("Workshop", None),
    ("Oils & adhesives", "Workshop"),
    ("Bearings & electrics", "Workshop"),
    ("Storage", "Workshop"),
    ("Safety", None),
    ("Protective equipment", "Safety"),
)


class Article(NamedTuple):
    sku: str
    name: str
    german: str
    """Title of the German page; empty where there is none."""
    category: str
    price: str
    """Retail, EUR."""
    stock: int
    text: str
    attributes: str
    """`name=value; name=value`"""


A = Article
BOLTS, SCREWS, HAND, MEASURE = "Bolts & nuts", "Screws & anchors", "Hand tools", "Measuring"
DRILL, ABRASIVE, OILS, BEARING, STORE, SAFE = (
    "Drilling & tapping",
    "Abrasives & blades",
    "Oils & adhesives",
    "Bearings & electrics",
    "Storage",
    "Protective equipment",
)
PER_100, PER_50 = "Pack=100", "Pack=50"

# One article a line reads better than anything wrapped.
# ruff: noqa: E501
# fmt: off
ARTICLES: tuple[Article, ...] = (
    A("BLT-M6X30-A2", "Hex bolt M6 × 30, stainless A2", "Sechskantschraube M6 × 30, Edelstahl A2", BOLTS, "14.90", 420, "Full thread to ISO 4017, for damp rooms and outdoor work.", f"Thread=M6; Length=30 mm; Material=A2-70; {PER_100}"),
    A("BLT-M8X40-A2", "Hex bolt M8 × 40, stainless A2", "Sechskantschraube M8 × 40, Edelstahl A2", BOLTS, "24.50", 380, "Full thread to ISO 4017, the everyday size for brackets and frames.", f"Thread=M8; Length=40 mm; Material=A2-70; {PER_100}"),
    A("BLT-M10X60-88", "Hex bolt M10 × 60, 8.8 zinc plated", "Sechskantschraube M10 × 60, 8.8 verzinkt", BOLTS, "31.20", 260, "Partial thread to ISO 4014, for structural steel indoors.", f"Thread=M10; Length=60 mm; Strength=8.8; {PER_50}"),
    A("BLT-M12X80-109", "Hex bolt M12 × 80, 10.9", "", BOLTS, "46.80", 140, "High strength, black finish; torque to 117 Nm, lubricated.", f"Thread=M12; Length=80 mm; Strength=10.9; {PER_50}"),
    A("NUT-M6-A2", "Hex nut M6, stainless A2", "Sechskantmutter M6, Edelstahl A2", BOLTS, "4.90", 640, "To ISO 4032, matched to our A2 bolts.", f"Thread=M6; Material=A2; {PER_100}"),
    A("NUT-M8-LOCK", "Lock nut M8 with nylon insert", "Sicherungsmutter M8 mit Klemmteil", BOLTS, "8.40", 510, "Holds under vibration; replace after removal.", f"Thread=M8; Strength=8; {PER_100}"),
    A("NUT-M10-FLG", "Flange nut M10, serrated", "", BOLTS, "13.70", 230, "Serrated flange, needs no washer.", f"Thread=M10; Strength=8; {PER_50}"),
    A("WSH-M8-A2", "Washer M8, stainless A2", "Unterlegscheibe M8, Edelstahl A2", BOLTS, "3.80", 700, "Flat washer to ISO 7089, deburred.", f"Inner diameter=8.4 mm; Material=A2; {PER_100}"),
    A("WSH-M10-PEN", "Repair washer M10 × 30", "", BOLTS, "6.20", 190, "Wide washer for soft material and oversized holes.", f"Outer diameter=30 mm; {PER_50}"),
    A("SCR-5X60-T25", "Wood screw 5 × 60, Torx 25", "Holzschraube 5 × 60, Torx 25", SCREWS, "12.60", 480, "Milling ribs and a waxed coating; goes in without pre-drilling.", "Drive=T25; Length=60 mm; Pack=200"),
    A("SCR-6X120-T30", "Timber screw 6 × 120, Torx 30", "Konstruktionsschraube 6 × 120, Torx 30", SCREWS, "27.90", 170, "Flange head for rafters, posts and battens.", f"Drive=T30; Length=120 mm; {PER_100}"),
    A("SCR-48X19-SD", "Self-drilling screw 4.8 × 19", "", SCREWS, "9.70", 350, "For sheet metal up to 3 mm, with sealing washer.", "Drive=hex 8 mm; Length=19 mm; Pack=200"),
    A("ANC-10X50-NY", "Wall plug 10 × 50, nylon", "Dübel 10 × 50, Nylon", SCREWS, "7.90", 410, "Expands in four directions; concrete, brick and aerated block.", "Drill=10 mm; Length=50 mm; Pack=50"),
    A("ANC-M12X110-TB", "Through bolt M12 × 110", "Bolzenanker M12 × 110", SCREWS, "38.40", 95, "Approved for cracked concrete, with washer and nut.", "Drill=12 mm; Embedment=70 mm; Pack=20"),
    A("DRL-HSS-SET19", "HSS drill set, 19 pieces", "HSS-Bohrersatz, 19-teilig", DRILL, "34.90", 72, "Ground, 1.0 to 10.0 mm in half steps, in a steel case.", "Material=HSS-G; Point=135° split"),
    A("DRL-HSSCO-85", "Cobalt drill 8.5 mm", "Kobaltbohrer 8,5 mm", DRILL, "9.30", 130, "For stainless steel; the core hole for M10.", "Material=HSS-Co 5 %; Diameter=8.5 mm"),
    A("DRL-SDS-10X160", "Hammer drill SDS-plus 10 × 160", "Hammerbohrer SDS-plus 10 × 160", DRILL, "8.10", 210, "Four cutting edges, keeps round in reinforced concrete.", "Shank=SDS-plus; Length=160 mm"),
    A("DRL-STEP-430", "Step drill 4–30 mm", "", DRILL, "29.50", 44, "Spiral flute, titanium nitride, sheet up to 4 mm.", "Steps=14; Coating=TiN"),
    A("TAP-M8-MACH", "Machine tap M8, spiral point", "Maschinengewindebohrer M8", DRILL, "16.80", 88, "Through holes in steel up to 900 N/mm².", "Thread=M8; Tolerance=ISO 2 / 6H"),
    A("TAP-M310-SET", "Tap and die set M3–M12", "", DRILL, "79.00", 26, "Hand taps in three stages, dies and holders in a wooden case.", "Pieces=32"),
    A("DSC-125-CUT", "Cutting disc 125 × 1.0, inox", "Trennscheibe 125 × 1,0, Inox", ABRASIVE, "1.95", 900, "Thin cut, hardly any burr; free of iron, sulphur and chlorine.", "Diameter=125 mm; Max speed=12 200 rpm"),
    A("DSC-125-FLAP80", "Flap disc 125, grit 80", "Fächerscheibe 125, Körnung 80", ABRASIVE, "4.60", 340, "Ceramic grain, cool grinding of stainless steel.", "Diameter=125 mm; Grit=80"),
    A("DSC-230-DIA", "Diamond disc 230, concrete", "Diamantscheibe 230, Beton", ABRASIVE, "54.00", 38, "Laser-welded segments, 12 mm high; dry or wet.", "Diameter=230 mm; Bore=22.2 mm"),
    A("SAW-190-24T", "Circular saw blade 190, 24 teeth", "Kreissägeblatt 190, 24 Zähne", ABRASIVE, "22.40", 66, "Fast rip cuts in softwood, cordless-thin kerf.", "Teeth=24; Bore=30 mm; Kerf=1.8 mm"),
    A("SAW-250-80T", "Circular saw blade 250, 80 teeth", "", ABRASIVE, "58.90", 31, "Clean cross cuts in laminate, MDF and aluminium.", "Teeth=80; Bore=30 mm"),
    A("WRN-CMB-SET12", "Combination spanner set, 12 pieces", "Ringmaulschlüsselsatz, 12-teilig", HAND, "64.50", 48, "8 to 19 mm, chrome vanadium, in a roll.", "Sizes=8–19 mm; Standard=DIN 3113"),
    A("WRN-RAT-13", "Ratchet spanner 13 mm", "Ratschenschlüssel 13 mm", HAND, "15.90", 110, "72 teeth: five degrees are enough for the next bite.", "Size=13 mm; Teeth=72"),
    A("WRN-TORQ-100", "Torque wrench 20–100 Nm, 1/2″", "Drehmomentschlüssel 20–100 Nm, 1/2″", HAND, "89.00", 29, "±3 %, with certificate and serial number.", "Range=20–100 Nm; Drive=1/2″"),
    A("WRN-HEX-SET9", "Hex key set, ball end, 9 pieces", "", HAND, "18.20", 125, "1.5 to 10 mm, long arm, in a clip.", "Sizes=1.5–10 mm"),
    A("PLR-COMB-180", "Combination pliers 180 mm", "Kombizange 180 mm", HAND, "24.90", 92, "Induction-hardened edges, cut piano wire to 2.2 mm.", "Length=180 mm; Handle=two-component"),
    A("PLR-PUMP-250", "Water pump pliers 250 mm", "Wasserpumpenzange 250 mm", HAND, "27.80", 84, "Push-button setting, grips pipes up to 50 mm.", "Length=250 mm; Positions=25"),
    A("PLR-CRIMP-25", "Crimping pliers 0.5–2.5 mm²", "", HAND, "42.50", 36, "Ratchet releases only after a full crimp.", "Range=0.5–2.5 mm²"),
    A("HAM-ENG-500", "Engineer's hammer 500 g", "Schlosserhammer 500 g", HAND, "17.60", 105, "Hickory handle, safety sleeve, forged head.", "Weight=500 g; Handle=hickory"),
    A("HAM-DEAD-40", "Dead-blow mallet 40 mm", "", HAND, "26.40", 41, "Steel-shot filling, does not bounce, marks nothing.", "Head=40 mm; Faces=nylon"),
    A("SDR-VDE-SET6", "VDE screwdriver set, 6 pieces", "VDE-Schraubendrehersatz, 6-teilig", HAND, "32.90", 78, "Tested one by one at 10 000 V, for work on live parts up to 1 000 V.", "Standard=IEC 60900; Pieces=6"),
    A("SDR-BIT-SET32", "Bit set, 32 pieces", "Bit-Satz, 32-teilig", HAND, "19.90", 150, "Tough bits for impact drivers and a magnetic holder.", "Drive=1/4″; Pieces=32"),
    A("MSR-CAL-150", "Digital caliper 150 mm", "Digitaler Messschieber 150 mm", MEASURE, "38.50", 57, "Stainless, IP54, 0.01 mm reading, with data port.", "Range=0–150 mm; Resolution=0.01 mm"),
    A("MSR-TAPE-5", "Tape measure 5 m", "Bandmaß 5 m", MEASURE, "9.80", 220, "Class II, matt steel blade, 2.4 m standing length.", "Length=5 m; Width=25 mm"),
    A("MSR-LVL-60", "Spirit level 60 cm", "", MEASURE, "33.70", 49, "Two vials, 0.5 mm/m in every position, magnetic foot.", "Length=60 cm; Accuracy=0.5 mm/m"),
    A("BRG-6204-2RS", "Ball bearing 6204-2RS", "Rillenkugellager 6204-2RS", BEARING, "6.90", 260, "Sealed both sides, greased for life.", "Bore=20 mm; Outside=47 mm; Width=14 mm"),
    A("BRG-6305-C3", "Ball bearing 6305, C3", "Rillenkugellager 6305, C3", BEARING, "11.40", 145, "Open, with larger internal clearance for electric motors.", "Bore=25 mm; Outside=62 mm; Clearance=C3"),
    A("BRG-UCP205", "Pillow block UCP205", "", BEARING, "19.60", 58, "Cast housing, relubricable, for 25 mm shafts.", "Shaft=25 mm"),
    A("CBL-H07-3G25", "Rubber cable H07RN-F 3G2.5, 50 m", "Gummischlauchleitung H07RN-F 3G2,5, 50 m", BEARING, "142.00", 18, "Oil resistant and flexible to −25 °C, for building sites.", "Cores=3 × 2.5 mm²; Length=50 m"),
    A("CBL-TIE-300", "Cable tie 4.8 × 300, black", "Kabelbinder 4,8 × 300, schwarz", BEARING, "6.80", 530, "Polyamide 6.6, UV resistant, 220 N.", f"Length=300 mm; {PER_100}"),
    A("OIL-PEN-400", "Penetrating oil 400 ml", "Rostlöser 400 ml", OILS, "7.90", 300, "Loosens seized threads in minutes, displaces water.", "Content=400 ml; Silicone=free"),
    A("OIL-CUT-500", "Cutting oil 500 ml", "Schneidöl 500 ml", OILS, "12.30", 116, "For tapping and drilling stainless steel and titanium.", "Content=500 ml; Chlorine=free"),
    A("OIL-GRS-LI400", "Lithium grease EP2, 400 g cartridge", "", OILS, "5.60", 280, "Long-life grease for plain and rolling bearings.", "NLGI=2; Range=−30 to 130 °C"),
    A("GLU-THR-50", "Threadlocker, medium, 50 ml", "Schraubensicherung, mittelfest, 50 ml", OILS, "21.70", 97, "Holds M5 to M20 and comes apart with hand tools.", "Strength=medium; Content=50 ml"),
    A("GLU-EPX-25", "Two-part epoxy 25 ml", "", OILS, "9.90", 160, "Five minutes to work, sandable after one hour.", "Content=25 ml; Pot life=5 min"),
    A("TPE-DUCT-50", "Cloth tape 50 mm × 50 m", "Gewebeband 50 mm × 50 m", OILS, "8.90", 270, "Tears by hand straight across, comes off without residue.", "Width=50 mm; Length=50 m"),
    A("TPE-INS-19", "Insulating tape 19 mm, 10 rolls", "", OILS, "11.20", 185, "Flame retardant PVC to IEC 60454, mixed colours.", "Width=19 mm; Rolls=10"),
    A("GLV-CUT-9", "Cut-resistant gloves, size 9", "Schnittschutzhandschuhe, Größe 9", SAFE, "12.90", 240, "Level D, nitrile palm, thin enough to pick up a washer.", "Size=9; Standard=EN 388 4X43D"),
    A("GLV-NIT-L", "Nitrile gloves, size L, box of 100", "Nitrilhandschuhe, Größe L, 100 Stück", SAFE, "13.80", 330, "Diamond grip, 0.15 mm, powder free.", f"Size=L; {PER_100}"),
    A("HLM-EN397-W", "Safety helmet, white, ratchet", "Schutzhelm, weiß, Drehverschluss", SAFE, "28.60", 74, "Ventilated, 6-point cradle, slots for ear defenders.", "Standard=EN 397; Colour=white"),
    A("HLM-EAR-28", "Ear defenders, SNR 28 dB", "", SAFE, "21.90", 86, "Soft cushions, folds flat.", "SNR=28 dB; Standard=EN 352-1"),
    A("GOG-CLR-AF", "Safety glasses, clear, anti-fog", "Schutzbrille, klar, beschlagfrei", SAFE, "8.70", 290, "Scratch-resistant outside, anti-fog inside, 26 g.", "Standard=EN 166 1 F; Weight=26 g"),
    A("GOG-WLD-913", "Welding helmet, automatic 9–13", "Schweißhelm, automatisch 9–13", SAFE, "119.00", 17, "True-colour filter, 1/25 000 s, solar cell and battery.", "Shade=4 / 9–13; Class=1/1/1/2"),
    A("BOX-EURO-6432", "Euro container 60 × 40 × 32", "Eurobehälter 60 × 40 × 32", STORE, "16.40", 130, "Solid walls, open handles, stacks with every Euro format.", "Outside=600 × 400 × 320 mm; Volume=64 l"),
    A("BOX-BIN-3", "Open-front bin, size 3, blue", "Sichtlagerkasten, Größe 3, blau", STORE, "3.10", 520, "Stacks and hangs on a louvred panel.", "Outside=234 × 150 × 122 mm; Load=8 kg"),
    A("BOX-ASRT-15", "Assortment case, 15 inserts", "", STORE, "24.30", 63, "Inserts of three sizes, clear lid that keeps every insert shut.", "Inserts=15"),
)
# fmt: on

CUSTOMERS: tuple[tuple[str, str, int], ...] = (
    ("Aldermoor Joinery", "EUR", 4000),
    ("Anlagenbau Reinholt GmbH", "EUR", 25000),
    ("Baltic Boatworks", "EUR", 12000),
    ("Bergmann & Söhne Stahlbau", "EUR", 40000),
    ("Carrick Marine Services", "USD", 15000),
    ("Castellan Elevators", "EUR", 18000),
    ("Dorfwerkstatt Lindach", "EUR", 2500),
    ("Elmira Fabrication Inc.", "USD", 30000),
    ("Fenwick Farm Machinery", "EUR", 8000),
    ("Gleisbau Nordost", "EUR", 35000),
    ("Hollin Bridge Garage", "EUR", 3000),
    ("Ilmtal Metallbau", "EUR", 14000),
    ("Jansen Koeltechniek", "EUR", 9000),
    ("Kestrel Cycles", "EUR", 2000),
    ("Lakeside Millwrights LLC", "USD", 20000),
    ("Marchetti Serramenti", "EUR", 11000),
    ("Nordwerft Rendsburg", "EUR", 60000),
    ("Ostrava Tooling", "EUR", 16000),
    ("Pfeiffer Haustechnik", "EUR", 7500),
    ("Quarry Hill Aggregates", "EUR", 22000),
    ("Rosendahl Windservice", "EUR", 45000),
    ("Stadtwerke Kleinau", "EUR", 50000),
    ("Tamar Valley Sawmill", "EUR", 10000),
    ("Ulvik Hydro AS", "EUR", 28000),
    ("Wren Theatre Workshops", "EUR", 3500),
)
CARRIERS: tuple[tuple[str, str], ...] = (("DHL", "JJD"), ("DPD", "0150"), ("UPS", "1Z"), ("GLS", "GL"))

with recursive {{>company.sql}},
wanted as (
  select p.id, p.code, p.template, t.type, coalesce(t.consumable, false) as consumable, u.rounding::numeric as rounding
    from product_product p
    join product_template t on t.id = p.template
    join product_uom u on u.id = t.default_uom
   where p.id = any($1) and p.active and t.active and p.code <> '' and t.type <> 'service'
     and (coalesce(t.salable, false) or not {{only_salable}})
),
-- what a product is made of: itself, or the components of a kit
part as (
  select w.id as product, w.id as component, 1::numeric as quantity, false as fixed, 1::numeric as per_unit
    from wanted w
   where w.type <> 'kit'
{{#kits}}
   union all
  select w.id, c.product, c.quantity::numeric, coalesce(c.fixed, false),
         case when c.unit = t.default_uom then 1 else stocked.base / asked.base end
    from wanted w
    join product_component c
      on c.parent_product = w.id
      or (c.parent_template = w.template and c.parent_product is null
          and not exists (select from product_component o where o.parent_product = w.id))
    join product_product p on p.id = c.product
    join product_template t on t.id = p.template
    join ({{>unit.sql}}) stocked on stocked.id = t.default_uom
    join ({{>unit.sql}}) asked on asked.id = c.unit
   where w.type = 'kit'
{{/kits}}
),
warehouse as (
  select l.id,
         case when {{by_warehouse}} then coalesce(nullif(l.code, ''), l.name) else 'default' end as place,
         case when {{sellable}} = 'storage' then l.storage_location else l.id end as top
    from stock_location l
   where l.type = 'warehouse' and l.active
     and ({{warehouses}} = '{}' or l.code = any({{warehouses}}) or l.name = any({{warehouses}}))
),
zone(warehouse, id) as (
  select w.id, w.top from warehouse w
   union
  select z.warehouse, l.id from zone z join stock_location l on l.parent = z.id
),
moved as (
  select m.product, m.from_location, m.to_location, m.state, m.shipment, m.internal_quantity::numeric as quantity, c.today,
         coalesce(m.effective_date, case when m.state = 'assigned' then c.today end, m.planned_date) as day
    from company c
    join stock_move m on m.company = c.company
   where m.product in (select component from part) and m.state in ('done', 'assigned', 'draft')
),
counted(product, warehouse, quantity) as (
  select m.product, z.warehouse, m.quantity
    from moved m
    join zone z on z.id = m.to_location
   where m.state = 'done' and m.day <= m.today
{{#forecast}}
      or coalesce(m.day, 'infinity') between m.today and {{>horizon.sql}}
{{/forecast}}
   union all
  select m.product, z.warehouse, -m.quantity
    from moved m
    join zone z on z.id = m.from_location
   where m.state in ('done', 'assigned') and m.day <= m.today
{{#forecast}}
      or coalesce(m.day, 'infinity') between m.today and {{>horizon.sql}}
{{/forecast}}
{{#promised}}
   union all
  -- waiting to be sent, and nobody has set it aside yet
  select m.product, z.warehouse, -m.quantity
    from moved m
    join zone z on z.id = m.from_location
   where m.state = 'draft' and m.shipment like 'stock.shipment.out,%'
     and not exists (select from zone inner_zone where inner_zone.warehouse = z.warehouse and inner_zone.id = m.to_location)
   union all
  -- confirmed, and the queue has not made the moves yet
  select part.component, s.warehouse,
         -case when part.fixed then part.quantity else l.quantity::numeric * sold.base / kept.base * part.quantity end
         / part.per_unit
    from company c
    join sale_sale s on s.company = c.company and s.state = 'confirmed'
    join sale_line l on l.sale = s.id and l.type = 'line' and l.quantity > 0
    join product_product p on p.id = l.product
    join product_template t on t.id = p.template
    join ({{>unit.sql}}) sold on sold.id = l.unit
    join ({{>unit.sql}}) kept on kept.id = t.default_uom
    join part on part.product = l.product
   where s.warehouse in (select id from warehouse)
{{/promised}}
),
-- as Tryton does: a sum for each warehouse, rounded to the unit, half to even
level as (
  select summed.component, w.id as warehouse, w.place,
         round((coalesce(summed.quantity, 0) / summed.rounding)::float8)::numeric * summed.rounding as quantity
    from warehouse w
   cross join lateral (
         select part.component, u.rounding::numeric as rounding, sum(c.quantity) as quantity
           from (select distinct component from part) part
           join product_product p on p.id = part.component
           join product_template t on t.id = p.template
           join product_uom u on u.id = t.default_uom
           left join counted c on c.product = part.component and c.warehouse = w.id
          group by part.component, u.rounding
         ) summed
),
place as (
  select component, place, sum(quantity) as quantity from level group by component, place
)
select w.id as key,
       w.code as sku,
       here.place as location,
       case when w.type <> 'kit' then greatest(coalesce(min(p.quantity), 0), 0)
            else greatest(
              floor(coalesce(min(p.quantity * part.per_unit / case when part.fixed then 1 else part.quantity end), 0)
                    / w.rounding) * w.rounding, 0)
       end as available,
       w.consumable as backorder
  from wanted w
 cross join (select distinct place from warehouse) here
  left join part on part.product = w.id
  left join place p on p.component = part.component and p.place = here.place
 group by w.id, w.code, w.type, w.rounding, w.consumable, here.place
